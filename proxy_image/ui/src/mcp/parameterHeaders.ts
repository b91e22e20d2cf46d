import { isObject, type JsonObject, type JsonSchema } from "~/forms/json";

const SAFE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * The `Mcp-Param-*` headers of a call (SEP-2243): members of the input schema that declare `x-mcp-header` and have a
 * value. The SDK leaves them out in browsers, for the sake of other origins; the gateway is this page's own.
 */
export function parameterHeaders(schema: JsonSchema, values: JsonObject): Record<string, string> {
  const headers: Record<string, string> = {};
  if (!isObject(schema.properties)) return headers;
  for (const [name, member] of Object.entries(schema.properties)) {
    if (!isObject(member)) continue;
    const value = values[name];
    const header = member["x-mcp-header"];
    if (typeof header === "string" && (typeof value === "string" || typeof value === "number" || typeof value === "boolean")) {
      headers[`Mcp-Param-${header}`] = encoded(String(value));
    }
    if (isObject(value)) Object.assign(headers, parameterHeaders(member, value));
  }
  return headers;
}

function encoded(value: string): string {
  if (SAFE.test(value) && !value.startsWith("=?base64?")) return value;
  const bytes = new TextEncoder().encode(value);
  return `=?base64?${btoa(String.fromCodePoint(...bytes))}?=`;
}
