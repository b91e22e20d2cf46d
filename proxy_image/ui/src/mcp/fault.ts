import { ProtocolError, SdkError, SdkErrorCode, SdkHttpError, UnauthorizedError } from "@modelcontextprotocol/client";

import type { Json } from "~/forms/json";

/** Why a request brought no result, as it is shown. */
export interface Fault {
  kind: "protocol" | "http" | "timeout" | "cancelled" | "signIn" | "other";
  title: string;
  detail: string;
  /** JSON-RPC error code. */
  code?: number;
  data?: Json;
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === "AbortError" || error.message.includes("AbortError"));
}

/** Any error of the SDK or the browser; its words are shown as text. */
export function faultOf(error: unknown): Fault {
  if (error instanceof UnauthorizedError) return { kind: "signIn", title: "Sign in first", detail: "The gateway does not accept the credential." };
  if (error instanceof ProtocolError) {
    const fault: Fault = { kind: "protocol", title: `Error ${error.code}`, detail: wordsOf(error), code: error.code };
    return error.data === undefined ? fault : { ...fault, data: error.data as Json };
  }
  if (error instanceof SdkHttpError) {
    if (error.status === 401) return { kind: "signIn", title: "Sign in first", detail: "The gateway does not accept the credential." };
    return { kind: "http", title: `HTTP ${error.status}`, detail: error.message };
  }
  if (error instanceof SdkError && error.code === SdkErrorCode.RequestTimeout) {
    return { kind: "timeout", title: "No answer in time", detail: error.message };
  }
  if (error instanceof TypeError) return { kind: "other", title: "The gateway does not answer", detail: error.message };
  return { kind: "other", title: "The request failed", detail: error instanceof Error ? error.message : String(error) };
}

/** The SDK puts `MCP error -32602: ` before a server's words. */
function wordsOf(error: Error): string {
  return error.message.replace(/^MCP error -?\d+: /, "");
}

/** A session or process that the gateway no longer knows: nothing was executed, a new connection helps. */
export function isLostSession(error: unknown): boolean {
  return error instanceof SdkHttpError && error.status === 404;
}
