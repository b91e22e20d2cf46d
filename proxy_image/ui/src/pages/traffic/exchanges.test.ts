import { describe, expect, it } from "vitest";

import type { ExchangeItem as Exchange } from "~/api/types";
import { isRewritten, KEPT, matches, merged, NO_FILTER, replayOf, valuesOf } from "./exchanges";

function exchange(change: Partial<Exchange> = {}): Exchange {
  return {
    id: "1",
    at: "2026-07-28T10:00:00Z",
    route: "/mcp",
    caller: "ada",
    session: null,
    server: "prod/shop",
    method: "tools/call",
    name: "shop_echo",
    outcome: "ok",
    milliseconds: 1,
    lane: false,
    worker: 0,
    client: { request: { method: "tools/call", params: { name: "shop_echo", _meta: { progressToken: 1 } } }, response: {}, truncated: false },
    backend: null,
    rewritten: [],
    ...change,
  };
}

describe("merged", () => {
  it("has the newest first and each once", () => {
    const old = exchange({ id: "a", at: "2026-07-28T10:00:00Z" });
    const later = exchange({ id: "b", at: "2026-07-28T10:00:01Z" });
    expect(merged([old], [old, later]).map(({ id }) => id)).toEqual(["b", "a"]);
  });

  it("forgets the oldest", () => {
    const many = Array.from({ length: KEPT + 5 }, (_, index) => exchange({ id: String(index), at: new Date(index * 1000).toISOString() }));
    const kept = merged([], many);
    expect(kept).toHaveLength(KEPT);
    expect(kept[0]?.id).toBe(String(KEPT + 4));
  });
});

describe("matches", () => {
  it.each([
    [{}, true],
    [{ text: "SHOP" }, true],
    [{ text: "ada" }, true],
    [{ text: "weather" }, false],
    [{ method: "tools/list" }, false],
    [{ server: "prod/shop" }, true],
    [{ outcome: "failed" }, false],
    [{ outcome: "ok", method: "tools/call" }, true],
  ])("filters by %j", (filter, expected) => {
    expect(matches(exchange(), { ...NO_FILTER, ...filter })).toBe(expected);
  });

  it.each([
    ["tool_error", true],
    ["denied", true],
    ["notification", false],
  ])("counts %s among the failed: %j", (outcome, expected) => {
    expect(matches(exchange({ outcome }), { ...NO_FILTER, outcome: "failed" })).toBe(expected);
  });
});

describe("valuesOf", () => {
  it("has each once and leaves out what is unknown", () => {
    expect(valuesOf([exchange(), exchange({ server: null }), exchange({ server: "a/b" })], "server")).toEqual(["a/b", "prod/shop"]);
  });
});

describe("replayOf", () => {
  it.each([
    ["without _meta", exchange(), { name: "shop_echo" }],
    ["lists without parameters", exchange({ method: "tools/list", client: { request: { method: "tools/list" }, response: {}, truncated: false } }), {}],
    ["no handshake", exchange({ method: "initialize" }), null],
    ["nothing that was cut", exchange({ client: { request: { params: {} }, response: {}, truncated: true } }), null],
    ["nothing that is no message", exchange({ client: { request: "…", response: {}, truncated: false } }), null],
  ])("sends again: %s", (_, given, expected) => {
    expect(replayOf(given)).toEqual(expected);
  });
});

describe("isRewritten", () => {
  it.each([
    [[], false],
    [["request.id"], false],
    [["request.id", "response.id"], false],
    [["request.id", "request.params.name"], true],
    [["response.result.content[0].id"], true],
    [["request.params.id"], true],
    [["request.id", 'request.params._meta["io.modelcontextprotocol/clientInfo"].name', 'response.result._meta["io.modelcontextprotocol/serverInfo"].version'], false],
    [['request.params._meta["io.modelcontextprotocol/protocolVersion"]'], true],
    [["request.params._meta"], true],
  ])("where %j differ", (paths, expected) => {
    expect(isRewritten({ rewritten: paths.map((path) => ({ path, from: 1, to: 2 })) })).toBe(expected);
  });
});
