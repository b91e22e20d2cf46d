import { describe, expect, it } from "vitest";

import { expanded, promptSchema, templateSchema } from "./templates";

describe("templateSchema", () => {
  it("asks for every variable", () => {
    expect(templateSchema("file:///{folder}/{+path}{?page}")).toMatchObject({
      required: ["folder", "path", "page"],
      properties: { folder: { type: "string" } },
    });
  });

  it("refuses what is no template", () => {
    expect(() => templateSchema("a://{open")).toThrow();
  });
});

describe("expanded", () => {
  it.each([
    ["data://{id}", { id: "a b/c" }, "data://a%20b%2Fc"],
    ["data://x{?page}", { page: "2" }, "data://x?page=2"],
  ])("fills %s with %j", (template, values, expected) => {
    expect(expanded(template, values)).toBe(expected);
  });
});

describe("promptSchema", () => {
  it("has texts, of which some are required", () => {
    expect(
      promptSchema([
        { name: "topic", required: true },
        { name: "tone", description: "How" },
      ]),
    ).toEqual({
      type: "object",
      required: ["topic"],
      properties: { topic: { type: "string", title: "topic" }, tone: { type: "string", title: "tone", description: "How" } },
    });
  });
});
