import { isObject, type JsonObject } from "~/forms/json";

import type { ExchangeItem as Exchange } from "~/api/types";

export const KEPT = 500;

/** Exchanges newest first, each once, at most `KEPT`. */
export function merged(known: readonly Exchange[], come: readonly Exchange[]): Exchange[] {
  const ids = new Set(known.map(({ id }) => id));
  const fresh = come.filter(({ id }) => !ids.has(id));
  if (fresh.length === 0) return [...known];
  return [...fresh, ...known].sort((one, other) => Date.parse(other.at) - Date.parse(one.at)).slice(0, KEPT);
}

export interface Filter {
  /** Anywhere in method, name, server, route or caller. */
  text: string;
  method: string;
  server: string;
  outcome: string;
}

export const NO_FILTER: Filter = { text: "", method: "", server: "", outcome: "" };

export function matches(exchange: Exchange, filter: Filter): boolean {
  if (filter.method !== "" && exchange.method !== filter.method) return false;
  if (filter.server !== "" && exchange.server !== filter.server) return false;
  if (filter.outcome !== "" && !(filter.outcome === "failed" ? failed(exchange) : exchange.outcome === filter.outcome)) return false;
  const text = filter.text.trim().toLowerCase();
  if (text === "") return true;
  return [exchange.method, exchange.name, exchange.server, exchange.route, exchange.caller].some((part) => part?.toLowerCase().includes(text));
}

export function failed({ outcome }: Exchange): boolean {
  return outcome !== "ok" && outcome !== "notification";
}

/** What differs by nature, as each side speaks for itself: the ids of its messages, and who speaks (2026-07-28 says that with each message). */
const OWN = /^(request|response)\.(id$|(params|result)\._meta\["io\.modelcontextprotocol\/(clientInfo|serverInfo)"\])/;

/** Whether the gateway has changed something of what was said. */
export function isRewritten({ rewritten }: Pick<Exchange, "rewritten">): boolean {
  return rewritten.some(({ path }) => !OWN.test(path));
}

/** The different values of a column, in order, for the filters. */
export function valuesOf(exchanges: readonly Exchange[], column: "method" | "server" | "outcome"): string[] {
  return [...new Set(exchanges.map((exchange) => exchange[column]).filter((value) => value !== null))].sort();
}

const AGAIN = new Set([
  "tools/call",
  "prompts/get",
  "resources/read",
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "completion/complete",
]);

/** The parameters that sending it again starts with: without `_meta`, whose tokens belong to the first time. Null: not to be sent again. */
export function replayOf({ method, client }: Exchange): JsonObject | null {
  if (!AGAIN.has(method) || client.truncated || !isObject(client.request)) return null;
  const params = client.request.params;
  if (params === undefined) return {};
  if (!isObject(params)) return null;
  const rest = Object.fromEntries(Object.entries(params).filter(([name]) => name !== "_meta"));
  return rest;
}
