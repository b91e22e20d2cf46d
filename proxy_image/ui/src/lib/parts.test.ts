import { describe, expect, it, test } from "vitest";

import { credentialFault, credentialHeaders, parseCredential } from "~/api/credential";
import { asProblem, problemOf } from "~/api/problem";

import { capabilityNames } from "./capabilities";
import { diffLines } from "./diff";
import { parsed, tokens } from "./json";
import { webAddress } from "./links";
import { health, rank, totals } from "./servers";
import { nextTheme } from "./theme";

describe("credentials", () => {
  test.each([
    [null, null],
    ["no JSON", null],
    ["null", null],
    ['{"scheme":"basic","value":"x"}', null],
    ['{"scheme":"bearer","value":""}', null],
    ['{"scheme":"bearer","value":"t"}', { scheme: "bearer", value: "t" }],
  ])("stored as %j", (stored, expected) => expect(parseCredential(stored)).toEqual(expected));
  it("go into the header of their scheme", () => {
    expect(credentialHeaders(null)).toEqual({});
    expect(credentialHeaders({ scheme: "apiKey", value: "k" })).toEqual({ "X-API-Key": "k" });
    expect(credentialHeaders({ scheme: "bearer", value: "t" })).toEqual({ Authorization: "Bearer t" });
  });
  test.each([
    ["", false],
    ["with space", false],
    ["line\nbreak", false],
    ["ключ", false],
    ["sk-123", true],
  ])("%j fits into a header: %j", (value, fits) => expect(credentialFault(value) === null).toBe(fits));
});

test("problem details, and what is said without them", () => {
  const told = problemOf(403, '{"title":"Forbidden","detail":"only operators","instance":"urn:uuid:1"}');
  expect([told.title, told.detail, told.instance, told.unauthenticated]).toEqual(["Forbidden", "only operators", "urn:uuid:1", false]);
  expect(problemOf(401, "<html>").title).toBe("Not signed in");
  expect(problemOf(418, "null").title).toBe("The gateway answered 418");
  expect(problemOf(401, '{"title":5,"detail":""}').detail).toBeNull();
  expect(asProblem(told)).toBe(told);
  expect(asProblem(new TypeError("x")).detail).toBe("x");
});

test.each([
  ["https://id.example/start?a=1", "https://id.example/start?a=1"],
  ["javascript:alert(1)", null],
  ["data:text/html,x", null],
  ["/relative", null],
  ["", null],
  [null, null],
])("address %j", (text, expected) => expect(webAddress(text)).toBe(expected));

test("lines of a diff", () => {
  expect(diffLines('description: "a -> b: c" -> "d"\n\ninputSchema.properties.x: added\n')).toEqual([
    { kind: "change", path: "description", before: '"a', after: 'b: c" -> "d"' },
    { kind: "note", text: "inputSchema.properties.x: added" },
  ]);
});

test.each(['{"a": [1, -2.5e3, true, null, "x\\"y"], "b": {}}', "plain text, no JSON", '{"cut": "off', "", "tffn-1-"])("all of %j comes back, in order", (text) => {
  expect(tokens(text).map((token) => token.text).join("")).toBe(text);
});

test("kinds of pieces", () => {
  expect(tokens('{"a": 1, "b": "c", "d": null}').filter((token) => token.kind !== "mark")).toEqual([
    { kind: "key", text: '"a"' },
    { kind: "number", text: "1" },
    { kind: "key", text: '"b"' },
    { kind: "string", text: '"c"' },
    { kind: "key", text: '"d"' },
    { kind: "word", text: "null" },
  ]);
  expect(parsed("[1]")).toEqual([1]);
  expect(parsed("no JSON")).toBe("no JSON");
});

test("capabilities that are declared", () => {
  expect(capabilityNames({ tools: { listChanged: true, other: false }, prompts: {}, logging: null, experimental: { x: {} } })).toEqual(["experimental", "prompts", "tools", "tools.listChanged"]);
});

describe("health", () => {
  const good = { state: "ready", stopped: false, circuit: "closed", healthy: true, error: null, unapproved: 0 } as const;
  const error = { errorClass: "Timeout", message: "no answer" } as const;
  test.each([
    [good, "Healthy", null],
    [{ ...good, stopped: true, state: "error", error }, "Stopped", "An operator has stopped it."],
    [{ ...good, state: "error", error }, "Down", "Timeout: no answer"],
    [{ ...good, circuit: "open" }, "Down", "Its circuit is open: calls are refused for a while."],
    [{ ...good, circuit: "half-open" }, "Degraded", "Its circuit is half open: a call is let through to try it."],
    [{ ...good, state: "pending" }, "Pending", "It has not answered yet."],
    [{ ...good, healthy: false }, "Degraded", null],
  ] as const)("%j is %s", (server, word, why) => {
    expect(health(server)).toMatchObject({ word, why });
  });
  it("orders the worst first", () => {
    expect(rank({ ...good, state: "error" })).toBeLessThan(rank(good));
    expect(rank(good)).toBeLessThan(rank({ ...good, stopped: true }));
  });
  it("adds up to nothing where there is nothing", () => {
    expect(totals([]).shown).toEqual({ all: 0, healthy: 0, trouble: 0, pending: 0, stopped: 0 });
  });
});

test("the switch of themes goes round", () => {
  expect(nextTheme(nextTheme(nextTheme("system")))).toBe("system");
});
