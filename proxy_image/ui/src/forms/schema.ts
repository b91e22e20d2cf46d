import { isSchema, type JsonSchema, resolveReference } from "./json";

const DEPTH = 32;

/**
 * The schema as a form shows it. It accepts nothing that the given schema refuses, save that values are checked against
 * the given one anyway: an optional member that may be null becomes a plain member that may be left out, and the
 * branches of unions get names. Anything else stays as it is.
 */
export function formSchema(schema: JsonSchema): JsonSchema {
  const shown = simplify(schema, schema, true, 0);
  return shown.type === undefined && shown.$ref === undefined ? { type: "object", ...shown } : shown;
}

function simplify(schema: JsonSchema, root: JsonSchema, required: boolean, depth: number): JsonSchema {
  if (depth > DEPTH) return schema;
  const plain = required ? decided(schema) : withoutNull(schema);
  const shown: JsonSchema = {};
  for (const [keyword, value] of Object.entries(plain)) shown[keyword] = keywordOf(keyword, value, plain, root, depth);
  return shown;
}

function keywordOf(keyword: string, value: unknown, schema: JsonSchema, root: JsonSchema, depth: number): unknown {
  const inner = (part: unknown, required: boolean) => (isSchema(part) ? simplify(part, root, required, depth + 1) : part);
  switch (keyword) {
    case "properties": {
      const required = Array.isArray(schema.required) ? schema.required : [];
      return mapMembers(value, (member, name) => inner(member, required.includes(name)));
    }
    case "$defs":
    case "definitions":
    case "patternProperties":
      return mapMembers(value, (member) => inner(member, true));
    case "items":
      return Array.isArray(value) ? value.map((item) => inner(item, true)) : inner(value, true);
    case "additionalProperties":
      return inner(value, true);
    case "anyOf":
    case "oneOf":
      return Array.isArray(value) ? value.map((branch, index) => named(inner(branch, true), root, index)) : value;
    case "allOf":
      return Array.isArray(value) ? value.map((branch) => inner(branch, true)) : value;
    default:
      return value;
  }
}

function mapMembers(value: unknown, change: (member: unknown, name: string) => unknown): unknown {
  if (!isSchema(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, change(member, name)]));
}

/** A box without a tick says no: a required boolean has a value from the beginning. */
function decided(schema: JsonSchema): JsonSchema {
  return schema.type === "boolean" && schema.default === undefined ? { ...schema, default: false } : schema;
}

/** `anyOf: [X, null]` and `type: [x, "null"]` of a member that may be left out: X. */
function withoutNull(schema: JsonSchema): JsonSchema {
  const { default: preset, ...rest } = schema;
  const kept = preset === undefined || preset === null ? rest : schema;
  if (Array.isArray(schema.type) && schema.type.includes("null") && schema.type.length === 2) {
    const type: unknown = schema.type.find((name) => name !== "null");
    const choices = Array.isArray(schema.enum) ? { enum: schema.enum.filter((value) => value !== null) } : {};
    return { ...kept, ...choices, type };
  }
  for (const keyword of ["anyOf", "oneOf"] as const) {
    const branches: unknown = schema[keyword];
    if (!Array.isArray(branches)) continue;
    const others = branches.filter((branch: unknown) => !(isSchema(branch) && branch.type === "null"));
    if (others.length === branches.length) continue;
    const outer = Object.fromEntries(Object.entries(kept).filter(([name]) => name !== keyword));
    if (others.length === 1 && isSchema(others[0])) return { ...others[0], ...outer };
    return { ...outer, [keyword]: others };
  }
  return schema;
}

function named(branch: unknown, root: JsonSchema, index: number): unknown {
  if (!isSchema(branch) || typeof branch.title === "string") return branch;
  const target = typeof branch.$ref === "string" ? resolveReference(root, branch.$ref) : undefined;
  return { ...branch, title: nameOf(target ?? branch, branch.$ref) ?? `Form ${index + 1}` };
}

function nameOf(schema: JsonSchema, reference: unknown): string | undefined {
  if (typeof schema.title === "string") return schema.title;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (typeof reference === "string") return reference.split("/").pop();
  const constant = isSchema(schema.properties)
    ? Object.values(schema.properties).find((member) => isSchema(member) && typeof member.const === "string")
    : undefined;
  if (isSchema(constant)) return constant.const as string;
  if (schema.type === "array" && isSchema(schema.items) && typeof schema.items.type === "string") {
    return `list of ${schema.items.type}`;
  }
  return typeof schema.type === "string" ? schema.type : undefined;
}
