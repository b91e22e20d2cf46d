import { describe, expect, it } from "vitest";

import { comparable, DIFFERENCES, differences } from "./legs";

describe("differences", () => {
  it.each([
    ["nothing of equal values in another order", { a: 1, b: [2] }, { b: [2], a: 1 }, []],
    [
      "a renamed tool",
      { params: { name: "shop_echo", arguments: {} } },
      { params: { name: "echo", arguments: {} } },
      [{ path: ["params", "name"], before: "shop_echo", after: "echo" }],
    ],
    [
      "what one has and the other lacks",
      { a: 1 },
      { b: null },
      [
        { path: ["a"], before: 1, after: undefined },
        { path: ["b"], before: undefined, after: null },
      ],
    ],
    [
      "elements of lists",
      [1, { x: 1 }],
      [1, { x: 2 }, 3],
      [
        { path: [1, "x"], before: 1, after: 2 },
        { path: [2], before: undefined, after: 3 },
      ],
    ],
    ["another shape as one", { a: [1] }, { a: { "0": 1 } }, [{ path: ["a"], before: [1], after: { "0": 1 } }]],
    ["null as a value", null, {}, [{ path: [], before: null, after: {} }]],
  ])("tells %s", (_, before, after, expected) => {
    expect(differences(before, after)).toEqual(expected);
  });

  it("ends after so many", () => {
    expect(
      differences(
        Array.from({ length: 500 }, () => 1),
        [],
      ),
    ).toHaveLength(DIFFERENCES);
  });
});

describe("comparable", () => {
  it.each([
    [
      { content: [], isError: true, resultType: "complete", _meta: { a: 1 } },
      { content: [], isError: true },
    ],
    [{ tools: [], ttlMs: 5, cacheScope: "private" }, { tools: [] }],
    ["text", "text"],
    [undefined, undefined],
  ])("of %j", (result, expected) => {
    expect(comparable(result)).toEqual(expected);
  });
});
