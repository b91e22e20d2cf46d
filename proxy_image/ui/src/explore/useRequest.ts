import type { Progress } from "@modelcontextprotocol/client";
import { useCallback, useEffect, useRef, useState } from "react";

import type { JsonObject, JsonSchema } from "~/forms/json";
import { type Asked, connection, type Era, type LogLine, send } from "~/mcp/connections";
import { type Fault, faultOf } from "~/mcp/fault";
import { parameterHeaders } from "~/mcp/parameterHeaders";

const LONGEST_MS = 3_600_000;
const LOG_LINES = 200;

export interface Running {
  state: "running";
  progress: Progress | null;
  logs: readonly LogLine[];
}

export interface Done {
  state: "done";
  result: JsonObject;
  milliseconds: number;
  version: string | undefined;
  logs: readonly LogLine[];
}

export interface Failed {
  state: "failed";
  fault: Fault;
  milliseconds: number;
  logs: readonly LogLine[];
}

export type Outcome = { state: "idle" } | Running | Done | Failed;

export interface Requested {
  route: string;
  asked: Asked;
  era?: Era;
  /** Of the tool, for the headers that it wants. */
  inputSchema?: JsonSchema;
}

/** One request at a time: its progress and log messages as they come, then its result or why there is none. */
export function useRequest(): { outcome: Outcome; start: (requested: Requested) => void; cancel: () => void } {
  const [outcome, setOutcome] = useState<Outcome>({ state: "idle" });
  const control = useRef<AbortController | null>(null);
  useEffect(() => () => control.current?.abort(), []);

  const start = useCallback((requested: Requested): void => {
    control.current?.abort();
    const mine = new AbortController();
    control.current = mine;
    void follow(requested, mine.signal, (next) => {
      if (control.current === mine) setOutcome(next);
    });
  }, []);
  const cancel = useCallback((): void => control.current?.abort(), []);
  return { outcome, start, cancel };
}

async function follow({ route, asked, era = "auto", inputSchema }: Requested, signal: AbortSignal, tell: (outcome: Outcome) => void): Promise<void> {
  let running: Running = { state: "running", progress: null, logs: [] };
  const change = (more: Partial<Running>): void => {
    running = { ...running, ...more };
    if (!signal.aborted) tell(running);
  };
  tell(running);
  const began = performance.now();
  const spent = (): number => performance.now() - began;
  let stop = (): void => undefined;
  try {
    const { onLog, version } = await connection(route, era);
    stop = onLog((line) => change({ logs: [...running.logs.slice(1 - LOG_LINES), line] }));
    const sent = performance.now();
    const stateless = version !== undefined && version >= "2026-07-28";
    const headers = stateless && inputSchema !== undefined ? parameterHeaders(inputSchema, (asked.params.arguments ?? {}) as JsonObject) : {};
    // the gateway's own time limits are what is looked at here, so the page's are out of the way
    const result = await send(route, asked, { signal, headers, timeout: LONGEST_MS, onprogress: (progress) => change({ progress }) }, era);
    tell({ state: "done", result, milliseconds: performance.now() - sent, version, logs: running.logs });
  } catch (error) {
    const fault: Fault = signal.aborted ? { kind: "cancelled", title: "Cancelled", detail: "The server was told so." } : faultOf(error);
    tell({ state: "failed", fault, milliseconds: spent(), logs: running.logs });
  } finally {
    stop();
  }
}
