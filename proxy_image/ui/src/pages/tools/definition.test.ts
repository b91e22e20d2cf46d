import { describe, expect, it } from "vitest";

import { hintsOf, inputSchemaOf, outputSchemaOf, titleOf } from "./definition";

describe("hintsOf", () => {
  it.each([
    [{}, []],
    [{ annotations: { readOnlyHint: true, destructiveHint: true } }, ["reads only"]],
    [{ annotations: { destructiveHint: true, idempotentHint: true, openWorldHint: true } }, ["may destroy", "idempotent", "reaches outside"]],
    [{ annotations: "x" }, []],
  ])("of %j", (definition, expected) => {
    expect(hintsOf(definition)).toEqual(expected);
  });
});

describe("schemas", () => {
  it.each([
    [{ inputSchema: { type: "object", properties: {} } }, { type: "object", properties: {} }],
    [{}, { type: "object" }],
    [{ inputSchema: true }, { type: "object" }],
  ])("input of %j", (definition, expected) => {
    expect(inputSchemaOf(definition)).toEqual(expected);
  });

  it("has an output schema or none", () => {
    expect(outputSchemaOf({ outputSchema: { type: "object" } })).toEqual({ type: "object" });
    expect(outputSchemaOf({})).toBeNull();
  });
});

describe("titleOf", () => {
  it.each([
    [{ title: "Echo", annotations: { title: "Older" } }, "Echo"],
    [{ annotations: { title: "Older" } }, "Older"],
    [{ title: "" }, null],
  ])("of %j", (definition, expected) => {
    expect(titleOf(definition)).toBe(expected);
  });
});
