import { describe, expect, it } from "vitest";
import { argumentsOf, parseArguments } from "./arguments";

const SCHEMA = {
  type: "object",
  required: ["where"],
  properties: {
    where: { type: "object", properties: { city: { type: "string" } } },
    filter: { $ref: "#/$defs/Filter" },
    tags: { type: "array", items: { type: "object", properties: { extra: { type: "object", properties: {} } } } },
  },
  $defs: { Filter: { type: "object", properties: { from: { type: "string" }, inner: { type: "object", properties: { a: { type: "string" } } } } } },
};

describe("argumentsOf", () => {
  it.each([
    ["nothing at all", undefined, {}],
    ["empty members", { where: { city: undefined }, filter: { from: undefined } }, { where: {} }],
    ["empty objects in objects", { where: {}, filter: { from: "x", inner: { a: undefined } } }, { where: {}, filter: { from: "x" } }],
    ["lists, also empty ones", { where: {}, tags: [] }, { where: {}, tags: [] }],
    ["objects in lists", { where: {}, tags: [{ extra: {} }] }, { where: {}, tags: [{}] }],
    ["false, zero, null and empty text", { where: { a: false, b: 0, c: null, d: "" } }, { where: { a: false, b: 0, c: null, d: "" } }],
    ["members beside the schema", { where: {}, other: {} }, { where: {}, other: {} }],
  ])("sends %s", (_, data, expected) => {
    expect(argumentsOf(data, SCHEMA)).toEqual(expected);
  });
});

describe("parseArguments", () => {
  it.each([
    ["", {}],
    [' {"a": [1]} ', { a: [1] }],
  ])("reads %j", (text, expected) => {
    expect(parseArguments(text)).toEqual({ arguments: expected });
  });

  it.each([
    ["[1]", "JSON object"],
    ["{a: 1}", "not JSON"],
  ])("refuses %j", (text, expected) => {
    const parsed = parseArguments(text);
    expect("problem" in parsed && parsed.problem).toContain(expected);
  });
});
