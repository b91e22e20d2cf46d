import { describe, expect, it } from "vitest";

import { beginning, bytes, visible } from "./text";

describe("visible", () => {
  it.each([
    ["plain text with\ttabs\nand lines", "plain text with\ttabs\nand lines"],
    ["\u001b[31mred\u001b[0m", "␛[31mred␛[0m"],
    ["bell\u0007 and zero\u0000", "bell␇ and zero␀"],
    ["user\u202Etxt.exe", "user⟨U+202E⟩txt.exe"],
    ["no\u200Bbreak\uFEFF", "no⟨U+200B⟩break⟨U+FEFF⟩"],
    ["a\r\nb\rc", "a\nb␍c"],
    ["<b>שלום</b> 😀", "<b>שלום</b> 😀"],
  ])("shows %j as %j", (text, expected) => {
    expect(visible(text)).toBe(expected);
  });
});

describe("beginning", () => {
  it.each([
    ["abc", 5, "abc"],
    ["abcdef", 5, "abcde"],
    ["abcd😀", 5, "abcd"],
  ])("cuts %j at %i", (text, limit, expected) => {
    expect(beginning(text, limit)).toBe(expected);
  });
});

describe("bytes", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [12_345, "12.3 kB"],
    [999_950, "1.0 MB"],
  ])("says %i as %s", (count, expected) => {
    expect(bytes(count)).toBe(expected);
  });
});
