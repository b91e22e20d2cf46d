import { describe, expect, it } from "vitest";
import { formSchema } from "./schema";

describe("formSchema", () => {
  it.each([
    ["a schema without a type", {}, { type: "object" }],
    [
      "an optional member that may be null",
      { type: "object", properties: { a: { anyOf: [{ type: "string", minLength: 1 }, { type: "null" }], default: null, title: "A" } } },
      { type: "object", properties: { a: { type: "string", minLength: 1, title: "A" } } },
    ],
    [
      "two types of which one is null",
      { type: "object", properties: { a: { type: ["integer", "null"], default: 3 } } },
      { type: "object", properties: { a: { type: "integer", default: 3 } } },
    ],
    [
      "a required member that may be null",
      { type: "object", required: ["a"], properties: { a: { anyOf: [{ type: "string" }, { type: "null" }] } } },
      {
        type: "object",
        required: ["a"],
        properties: {
          a: {
            anyOf: [
              { type: "string", title: "string" },
              { type: "null", title: "null" },
            ],
          },
        },
      },
    ],
    [
      "a required boolean as decided",
      { type: "object", required: ["a"], properties: { a: { type: "boolean" }, b: { type: "boolean" } } },
      { type: "object", required: ["a"], properties: { a: { type: "boolean", default: false }, b: { type: "boolean" } } },
    ],
    [
      "branches of a union, by what they are",
      {
        type: "object",
        $defs: { Card: { type: "object" } },
        properties: { a: { oneOf: [{ $ref: "#/$defs/Card" }, { const: 5 }, { type: "array", items: { type: "string" } }, {}] } },
      },
      {
        type: "object",
        $defs: { Card: { type: "object" } },
        properties: {
          a: {
            oneOf: [
              { $ref: "#/$defs/Card", title: "Card" },
              { const: 5, title: "5" },
              { type: "array", items: { type: "string" }, title: "list of string" },
              { title: "Form 4" },
            ],
          },
        },
      },
    ],
    [
      "branches of a union, by the constant that tells them apart",
      {
        type: "object",
        properties: { a: { oneOf: [{ type: "object", properties: { n: { type: "string" }, kind: { const: "card" } } }, { type: "object" }] } },
      },
      {
        type: "object",
        properties: {
          a: {
            oneOf: [
              { type: "object", properties: { n: { type: "string" }, kind: { const: "card" } }, title: "card" },
              { type: "object", title: "object" },
            ],
          },
        },
      },
    ],
    [
      "members of lists and definitions",
      {
        type: "object",
        $defs: { D: { type: "object", properties: { x: { type: ["string", "null"] } } } },
        properties: { l: { type: "array", items: { $ref: "#/$defs/D" } } },
      },
      {
        type: "object",
        $defs: { D: { type: "object", properties: { x: { type: "string" } } } },
        properties: { l: { type: "array", items: { $ref: "#/$defs/D" } } },
      },
    ],
  ])("shows %s", (_, schema, expected) => {
    expect(formSchema(schema)).toEqual(expected);
  });

  it("ends for a schema that nests without end", () => {
    const deep: Record<string, unknown> = { type: "object" };
    deep.properties = { again: deep };
    expect(formSchema(deep)).toBeDefined();
  });
});
