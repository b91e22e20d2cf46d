import { expect, test } from "vitest";

import { UNKNOWN, count, duration, milliseconds, relative, share, splitId, words } from "./format";

test.each([
  [null, UNKNOWN],
  [NaN, UNKNOWN],
  [0.123, "0.12 ms"],
  [4.26, "4.3 ms"],
  [42.4, "42 ms"],
  [1234, "1.23 s"],
  [34_567, "34.6 s"],
  [125_000, "2 min"],
])("milliseconds %j", (value, expected) => expect(milliseconds(value)).toBe(expected));

test.each([
  [undefined, UNKNOWN],
  [0, "0"],
  [9_999, "9,999"],
  [12_345, "12.3k"],
  [3_100_000, "3.1M"],
])("count %j", (value, expected) => expect(count(value)).toBe(expected));

test.each([
  [0, 0, UNKNOWN],
  [0, 5, "0 %"],
  [1, 10_000, "< 0.1 %"],
  [1, 40, "2.5 %"],
  [1, 2, "50 %"],
])("share of %d in %d", (part, whole, expected) => expect(share(part, whole)).toBe(expected));

test.each([
  [-3, "0 s"],
  [59.9, "59 s"],
  [720, "12 min"],
  [3600, "1 h"],
  [11_100, "3 h 5 min"],
  [187_200, "2 d 4 h"],
  [20 * 86_400 + 7200, "20 d"],
  [548 * 86_400, "1.5 y"],
])("duration %d", (value, expected) => expect(duration(value)).toBe(expected));

const NOW = Date.parse("2026-01-01T12:00:00Z");
test.each([
  [null, UNKNOWN],
  ["no time", UNKNOWN],
  ["2026-01-01T11:59:59Z", "now"],
  ["2026-01-01T11:00:00Z", "1 h ago"],
  ["2026-01-01T12:05:00Z", "in 5 min"],
])("relative %j", (at, expected) => expect(relative(at, NOW)).toBe(expected));

test("an id in its parts", () => {
  expect(splitId("team/calc")).toEqual({ namespace: "team", name: "calc" });
  expect(splitId("calc")).toEqual({ namespace: "", name: "calc" });
});

test.each([
  ["CircuitClosed", "Circuit closed"],
  ["crash-loop", "Crash loop"],
])("words %j", (name, expected) => expect(words(name)).toBe(expected));
