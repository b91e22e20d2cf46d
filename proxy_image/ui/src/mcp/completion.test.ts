import { describe, expect, it } from "vitest";

import { completedOf, completeParams, othersOf, suggested } from "./completion";

describe("completeParams", () => {
  const prompt = { type: "ref/prompt", name: "shop_greeting" } as const;

  it("tells what is filled in elsewhere", () => {
    expect(completeParams(prompt, "tone", "fr", { name: "Ada" })).toEqual({
      ref: { type: "ref/prompt", name: "shop_greeting" },
      argument: { name: "tone", value: "fr" },
      context: { arguments: { name: "Ada" } },
    });
  });

  it("has no context where nothing is", () => {
    expect(completeParams({ type: "ref/resource", uri: "shop://articles/{sku}" }, "sku", "", {})).toEqual({
      ref: { type: "ref/resource", uri: "shop://articles/{sku}" },
      argument: { name: "sku", value: "" },
    });
  });
});

describe("othersOf", () => {
  it.each([
    [{ name: "Ada", tone: "friendly" }, { name: "Ada" }],
    [{ name: "", tone: "friendly" }, {}],
    [{ name: undefined }, {}],
    [{ count: 3, name: "Ada" }, { name: "Ada" }],
    [undefined, {}],
  ])("of %j", (data, expected) => {
    expect(othersOf(data, "tone")).toEqual(expected);
  });
});

describe("completedOf", () => {
  it.each([
    [{ completion: { values: ["a", "b", "a"], hasMore: false } }, { values: ["a", "b"], total: null, more: false }],
    [{ completion: { values: ["a"], total: 7 } }, { values: ["a"], total: 7, more: true }],
    [{ completion: { values: ["a"], total: 1, hasMore: true } }, { values: ["a"], total: null, more: true }],
    [{ completion: { values: [1, null, "a"] } }, { values: ["a"], total: null, more: false }],
    [{ completion: { values: "a" } }, { values: [], total: null, more: false }],
    [{}, { values: [], total: null, more: false }],
    [null, { values: [], total: null, more: false }],
  ])("of %j", (result, expected) => {
    expect(completedOf(result)).toEqual(expected);
  });
});

describe("suggested", () => {
  it.each([
    [{ values: [], total: null, more: false }, "The server suggests nothing for this."],
    [{ values: ["a"], total: null, more: false }, "1 suggestion: ↓ shows it."],
    [{ values: ["a", "b"], total: null, more: false }, "2 suggestions: ↓ shows them."],
    [{ values: ["a", "b"], total: null, more: true }, "2 suggestions, and there are more: ↓ shows them."],
    [{ values: ["a"], total: 9, more: true }, "1 suggestion of 9: ↓ shows them."],
  ])("of %j", (completed, expected) => {
    expect(suggested(completed)).toBe(expected);
  });
});
