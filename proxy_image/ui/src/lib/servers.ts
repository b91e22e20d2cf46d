import type { FleetServer } from "~/api/types";
import type { Tone } from "~/components/Status";

/** What a server's members amount to: one word, one tone, and why. Pure. */
export interface Health {
  tone: Tone;
  word: "Healthy" | "Degraded" | "Down" | "Pending" | "Stopped";
  why: string | null;
}

type Judged = Pick<FleetServer, "state" | "stopped" | "circuit" | "healthy" | "error" | "unapproved">;

export function health(server: Judged): Health {
  if (server.stopped) return { tone: "idle", word: "Stopped", why: "An operator has stopped it." };
  const why = server.error === null ? null : `${server.error.errorClass}: ${server.error.message}`;
  if (server.state === "error") return { tone: "bad", word: "Down", why };
  if (server.circuit === "open") return { tone: "bad", word: "Down", why: why ?? "Its circuit is open: calls are refused for a while." };
  if (server.state === "pending") return { tone: "info", word: "Pending", why: why ?? "It has not answered yet." };
  if (server.circuit === "half-open") return { tone: "warn", word: "Degraded", why: "Its circuit is half open: a call is let through to try it." };
  if (!server.healthy) return { tone: "warn", word: "Degraded", why };
  return { tone: "ok", word: "Healthy", why: null };
}

export type Shown = "all" | "healthy" | "trouble" | "pending" | "stopped";

/** Which of the fleet's filters a server falls under. */
export function shownUnder(word: Health["word"]): Exclude<Shown, "all"> {
  if (word === "Healthy") return "healthy";
  if (word === "Pending") return "pending";
  return word === "Stopped" ? "stopped" : "trouble";
}

const RANK: Record<Health["word"], number> = { Down: 0, Degraded: 1, Pending: 2, Healthy: 3, Stopped: 4 };

/** The worst first. */
export function rank(server: Judged): number {
  return RANK[health(server).word];
}

/** Of all servers, for the head of the page. */
export interface Totals {
  shown: Record<Shown, number>;
  calls: number;
  errors: number;
  restarts: number;
  sessions: number;
  tools: number;
  unapproved: number;
}

export function totals(servers: readonly FleetServer[]): Totals {
  const found: Totals = { shown: { all: servers.length, healthy: 0, trouble: 0, pending: 0, stopped: 0 }, calls: 0, errors: 0, restarts: 0, sessions: 0, tools: 0, unapproved: 0 };
  for (const server of servers) {
    found.shown[shownUnder(health(server).word)] += 1;
    found.calls += server.calls;
    found.errors += server.errors;
    found.restarts += server.restarts;
    found.sessions += server.sessions;
    found.tools += server.tools;
    found.unapproved += server.unapproved;
  }
  return found;
}

export const ERAS = { handshake: "Handshake", stateless: "Stateless" } as const;
export const TRANSPORTS = { "streamable-http": "HTTP", sse: "SSE" } as const;

/** How a server is reached: `stdio`, `HTTP`, `SSE`. */
export function reached(server: Pick<FleetServer, "kind" | "transport">): string | null {
  if (server.kind === "stdio") return "stdio";
  return server.transport === null ? null : TRANSPORTS[server.transport];
}
