import { describe, expect, it } from "vitest";

import { announced } from "./announcement";
import type { Done, Outcome } from "./useRequest";

const done: Done = { state: "done", result: { isError: true }, milliseconds: 12, version: undefined, logs: [] };
const tool = (result: object) => ({ tone: "bad" as const, text: "isError" in result ? "Error of the tool" : "Called" });

describe("announced", () => {
  it.each<[Outcome, string]>([
    [{ state: "idle" }, ""],
    [{ state: "running", progress: null, logs: [] }, "Waiting for the answer"],
    [done, "Error of the tool after 12 ms"],
    [{ state: "failed", fault: { kind: "other", title: "Refused", detail: "no" }, milliseconds: 1, logs: [] }, ""],
  ])("of %j", (outcome, expected) => {
    expect(announced(outcome, tool)).toBe(expected);
  });

  it("has a word for any answer", () => {
    expect(announced(done)).toBe("Answered after 12 ms");
  });
});
