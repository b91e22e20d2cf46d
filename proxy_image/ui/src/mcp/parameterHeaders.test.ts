import { describe, expect, it } from "vitest";

import { parameterHeaders } from "./parameterHeaders";

const SCHEMA = {
  properties: {
    region: { type: "string", "x-mcp-header": "Region" },
    count: { type: "integer", "x-mcp-header": "Count" },
    plain: { type: "string" },
    inner: { type: "object", properties: { on: { type: "boolean", "x-mcp-header": "On" } } },
  },
};

describe("parameterHeaders", () => {
  it.each([
    ["plain values", { region: "eu-1", count: 3, plain: "x" }, { "Mcp-Param-Region": "eu-1", "Mcp-Param-Count": "3" }],
    ["members of members", { inner: { on: false } }, { "Mcp-Param-On": "false" }],
    ["nothing of null and absent values", { region: null }, {}],
    ["what no header can hold, in base64", { region: "Köln" }, { "Mcp-Param-Region": "=?base64?S8O2bG4=?=" }],
    ["blanks at an end, in base64", { region: " a" }, { "Mcp-Param-Region": "=?base64?IGE=?=" }],
    ["what looks like base64, in base64", { region: "=?base64?x?=" }, { "Mcp-Param-Region": "=?base64?PT9iYXNlNjQ/eD89?=" }],
    ["empty text, in base64", { region: "" }, { "Mcp-Param-Region": "=?base64??=" }],
  ])("sends %s", (_, values, expected) => {
    expect(parameterHeaders(SCHEMA, values)).toEqual(expected);
  });
});
