import { isObject, isSchema, type JsonObject, type JsonSchema, resolveReference, withoutUndefined } from "./json";

/**
 * The arguments of a call from what a form holds: members left empty are not sent, nor are optional objects of which
 * every member was left empty. Lists are sent as they are, also empty ones that somebody made.
 */
export function argumentsOf(data: unknown, schema: JsonSchema): JsonObject {
  const pruned = prune(withoutUndefined(data), schema, schema);
  return isObject(pruned) ? (pruned as JsonObject) : {};
}

function prune(value: unknown, schema: JsonSchema, root: JsonSchema): unknown {
  if (Array.isArray(value)) {
    const items = memberSchema(schema.items, root);
    return value.map((item) => prune(item, items, root));
  }
  if (!isObject(value)) return value;
  const required = Array.isArray(schema.required) ? schema.required : [];
  const properties = isObject(schema.properties) ? schema.properties : {};
  const kept: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    const smaller = prune(member, memberSchema(properties[name], root), root);
    const empty = isObject(smaller) && Object.keys(smaller).length === 0;
    if (!empty || required.includes(name) || !(name in properties)) kept[name] = smaller;
  }
  return kept;
}

function memberSchema(schema: unknown, root: JsonSchema): JsonSchema {
  if (!isSchema(schema)) return {};
  return typeof schema.$ref === "string" ? (resolveReference(root, schema.$ref) ?? schema) : schema;
}

export type Parsed = { arguments: JsonObject } | { problem: string };

/** Arguments that were written as JSON text; empty text is none at all. */
export function parseArguments(text: string): Parsed {
  if (!text.trim()) return { arguments: {} };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `This is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  return isObject(value) ? { arguments: value as JsonObject } : { problem: "Arguments are a JSON object: { … }" };
}
