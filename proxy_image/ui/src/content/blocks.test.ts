import { describe, expect, it } from "vitest";

import { blocksOf, contentsOf, jsonOf, sizeOf } from "./blocks";

const PNG = "iVBORw0KGgo=";

describe("blocksOf", () => {
  it.each([
    ["text as text", { type: "text", text: "<b>x</b>" }, { kind: "text", text: "<b>x</b>" }],
    [
      "an image as a data: URL",
      { type: "image", data: PNG, mimeType: "image/png" },
      { kind: "image", source: `data:image/png;base64,${PNG}`, mimeType: "image/png", size: 8 },
    ],
    [
      "a sound",
      { type: "audio", data: "AAAA", mimeType: "audio/wav" },
      { kind: "audio", source: "data:audio/wav;base64,AAAA", mimeType: "audio/wav", size: 3 },
    ],
    [
      "an image whose type says something else as bytes",
      { type: "image", data: PNG, mimeType: 'image/png" onerror="alert(1)' },
      { kind: "binary", uri: undefined, mimeType: 'image/png" onerror="alert(1)', base64: PNG, size: 8 },
    ],
    [
      "an image that is no base64 as JSON",
      { type: "image", data: "<svg>", mimeType: "image/png" },
      { kind: "unknown", value: { type: "image", data: "<svg>", mimeType: "image/png" } },
    ],
    [
      "a link to a resource",
      { type: "resource_link", uri: "file:///a", name: "a", mimeType: "text/plain", size: 5 },
      { kind: "link", uri: "file:///a", name: "a", description: undefined, mimeType: "text/plain", size: 5 },
    ],
    ["an embedded text", { type: "resource", resource: { uri: "a://b", text: "hi" } }, { kind: "resource", uri: "a://b", mimeType: undefined, text: "hi" }],
    [
      "embedded bytes",
      { type: "resource", resource: { uri: "a://b", mimeType: "application/zip", blob: "AAAA" } },
      { kind: "binary", uri: "a://b", mimeType: "application/zip", base64: "AAAA", size: 3 },
    ],
    [
      "an embedded image",
      { type: "resource", resource: { uri: "a://b", mimeType: "image/png", blob: PNG } },
      { kind: "image", source: `data:image/png;base64,${PNG}`, mimeType: "image/png", size: 8 },
    ],
    ["another type as JSON", { type: "hologram", data: 1 }, { kind: "unknown", value: { type: "hologram", data: 1 } }],
    ["text without text as JSON", { type: "text" }, { kind: "unknown", value: { type: "text" } }],
    ["a number as JSON", 5, { kind: "unknown", value: 5 }],
  ])("shows %s", (_, part, expected) => {
    expect(blocksOf([part]).map(({ block }) => block)).toEqual([expected]);
  });

  it("tells whom a part is for", () => {
    expect(blocksOf([{ type: "text", text: "x", annotations: { audience: ["user", "assistant"], priority: 0.5 } }])[0]?.notes).toEqual([
      "for user and assistant",
      "priority 0.5",
    ]);
  });

  it("takes the one part of a prompt's message, and none at all", () => {
    expect(blocksOf({ type: "text", text: "x" })).toHaveLength(1);
    expect(blocksOf(undefined)).toEqual([]);
  });
});

describe("contentsOf", () => {
  it("shows what is no resource as JSON", () => {
    expect(contentsOf([{ uri: "a://b", text: "hi" }, { text: "no uri" }]).map(({ block }) => block.kind)).toEqual(["resource", "unknown"]);
    expect(contentsOf(undefined)).toEqual([]);
  });
});

describe("sizeOf", () => {
  it.each([
    ["", 0],
    ["AA==", 1],
    ["AAA=", 2],
    ["AA AA\n", 3],
  ])("counts the bytes of %j", (base64, expected) => {
    expect(sizeOf(base64)).toBe(expected);
  });
});

describe("jsonOf", () => {
  it.each([
    ['{"a": 1}', { a: 1 }],
    [" [1]", [1]],
    ["5", undefined],
    ["{not json", undefined],
  ])("reads %j", (text, expected) => {
    expect(jsonOf(text)).toEqual(expected);
  });
});
