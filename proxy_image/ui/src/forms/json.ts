/** JSON values (RFC 8259) as they come from the wire. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [member: string]: Json;
}
/** A JSON Schema as an object; boolean schemas are rare in tools and stand only below the root. */
export interface JsonSchema {
  $schema?: unknown;
  $ref?: unknown;
  $defs?: unknown;
  type?: unknown;
  title?: unknown;
  description?: unknown;
  default?: unknown;
  const?: unknown;
  enum?: unknown;
  required?: unknown;
  properties?: unknown;
  items?: unknown;
  [keyword: string]: unknown;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isSchema(value: unknown): value is JsonSchema {
  return isObject(value);
}

/** What JSON text would hold of a value: members and elements that are undefined are left out. */
export function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : withoutUndefined(item)));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([name, member]) => [name, withoutUndefined(member)]),
  );
}

/** Follows a local reference (`#/$defs/x`, RFC 6901) in a root schema; undefined when it leads nowhere. */
export function resolveReference(root: JsonSchema, reference: string): JsonSchema | undefined {
  if (!reference.startsWith("#")) return undefined;
  let place: unknown = root;
  for (const token of reference.slice(1).split("/").filter(Boolean)) {
    const name = decodeURIComponent(token).replaceAll("~1", "/").replaceAll("~0", "~");
    if (!isObject(place) && !Array.isArray(place)) return undefined;
    place = (place as Record<string, unknown>)[name];
  }
  return isSchema(place) ? place : undefined;
}
