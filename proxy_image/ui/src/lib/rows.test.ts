import { describe, expect, it, test } from "vitest";

import { matches, moved, parseSort, sorted } from "./rows";

describe("sorted", () => {
  const rows = [{ n: 2 }, { n: null }, { n: 10 }, { n: 1 }];
  it("puts what is unknown last, up and down", () => {
    expect(sorted(rows, (row) => row.n, "up").map((row) => row.n)).toEqual([1, 2, 10, null]);
    expect(sorted(rows, (row) => row.n, "down").map((row) => row.n)).toEqual([10, 2, 1, null]);
  });
  it("reads numbers in texts as numbers, whatever the case", () => {
    expect(sorted(["server-10", "Server-9", "a"], (text) => text, "up")).toEqual(["a", "Server-9", "server-10"]);
  });
  it("leaves equals and what has no value as they were", () => {
    const same = [{ id: "b" }, { id: "a" }];
    expect(sorted(same, () => 0, "down")).toEqual(same);
    expect(sorted(same, undefined, "up")).toEqual(same);
  });
});

test.each([
  ["", true],
  ["team", true],
  ["TEAM maths", true],
  ["maths missing", false],
])("matches %j: %j", (search, expected) => {
  expect(matches(search, "team-a/calc", null, "Does maths")).toBe(expected);
});

test.each([
  ["ArrowDown", 3, 4],
  ["ArrowDown", 9, 9],
  ["ArrowUp", 0, 0],
  ["PageDown", 3, 8],
  ["PageUp", 3, 0],
  ["Home", 7, 0],
  ["End", 0, 9],
  ["a", 3, null],
])("%s from %d leads to %j", (key, from, to) => {
  expect(moved(key, from, 10, 5)).toBe(to);
});

test("nothing can be moved to in an empty list", () => {
  expect(moved("End", 0, 0, 5)).toBeNull();
});

test.each([
  ["calls:up", { by: "calls", direction: "up" }],
  ["calls:sideways", null],
  ["note:up", null],
  ["other:up", null],
  [undefined, null],
])("parseSort %j", (text, expected) => {
  expect(parseSort(text, [{ id: "calls", value: () => 1 }, { id: "note" }])).toEqual(expected);
});
