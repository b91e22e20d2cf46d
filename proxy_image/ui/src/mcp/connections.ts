import "./noEval";

import { Client, StreamableHTTPClientTransport, type RequestOptions } from "@modelcontextprotocol/client";

import { credentialHeaders, onCredential } from "~/api/credential";
import type { JsonObject } from "~/forms/json";

import { isLostSession } from "./fault";
import { ask } from "./questions";

/** How the page speaks to a route: the newest era that it has, a session (up to 2025-11-25), or none (2026-07-28). */
export type Era = "auto" | "session" | "stateless";

export interface LogLine {
  at: number;
  level: string;
  text: string;
}

export interface Connection {
  client: Client;
  route: string;
  /** As negotiated. */
  version: string | undefined;
  /** The newest that the server logged to this client. */
  onLog: (listener: (line: LogLine) => void) => () => void;
}

const STATELESS = "2026-07-28";
const MODES = { auto: "auto", session: "legacy", stateless: { pin: STATELESS } } as const;
const open = new Map<string, Promise<Connection>>();

// nothing of one caller is used by the next
onCredential(() => {
  for (const key of open.keys()) drop(key);
});

/** The page's connection with a route, made when it is first needed and again when it was lost. */
export function connection(route: string, era: Era = "auto"): Promise<Connection> {
  const key = `${era} ${route}`;
  const found = open.get(key);
  if (found !== undefined) return found;
  const made = connect(route, era);
  open.set(key, made);
  made.catch(() => open.get(key) === made && open.delete(key));
  return made;
}

function drop(key: string): void {
  const gone = open.get(key);
  open.delete(key);
  gone?.then(
    ({ client }) => client.close(),
    () => undefined,
  );
}

async function connect(route: string, era: Era): Promise<Connection> {
  const client = new Client(
    { name: "mcp-inspector", title: "MCP inspector", version: "1" },
    { capabilities: { elicitation: { form: {}, url: {} } }, versionNegotiation: { mode: MODES[era] } },
  );
  client.setRequestHandler("elicitation/create", (request, context) => ask(route, request.params, context.mcpReq.signal));
  const listeners = new Set<(line: LogLine) => void>();
  client.setNotificationHandler("notifications/message", ({ params }) => {
    const line = lineOf(params);
    for (const listener of listeners) listener(line);
  });
  const transport = new StreamableHTTPClientTransport(new URL(route, location.origin), {
    requestInit: { headers: credentialHeaders(), credentials: "omit", cache: "no-store" },
  });
  await client.connect(transport);
  return {
    client,
    route,
    version: client.getNegotiatedProtocolVersion(),
    onLog: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function lineOf({ level, data, logger }: { level: string; data: unknown; logger?: string | undefined }): LogLine {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return { at: Date.now(), level, text: logger === undefined ? text : `${logger}: ${text}` };
}

export interface Asked {
  /** A request of MCP that clients send. */
  method: string;
  params: JsonObject;
}

/** One request to a route. A session that the gateway no longer knows is opened anew, once: nothing was executed then. */
export async function send(route: string, { method, params }: Asked, options: RequestOptions = {}, era: Era = "auto"): Promise<JsonObject> {
  const request = async (): Promise<JsonObject> => {
    const { client } = await connection(route, era);
    return (await client.request({ method, params } as never, options)) as JsonObject;
  };
  try {
    return await request();
  } catch (error) {
    if (!isLostSession(error)) throw error;
    drop(`${era} ${route}`);
    return request();
  }
}
