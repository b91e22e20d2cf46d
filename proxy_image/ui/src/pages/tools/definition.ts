import { isObject, isSchema, type JsonSchema } from "~/forms/json";

/** What a definition says of itself (ToolAnnotations): hints of the server, which nobody checks. */
export function hintsOf(definition: Record<string, unknown>): string[] {
  const annotations = definition.annotations;
  if (!isObject(annotations)) return [];
  const hints: string[] = [];
  if (annotations.readOnlyHint === true) hints.push("reads only");
  if (annotations.readOnlyHint !== true && annotations.destructiveHint === true) hints.push("may destroy");
  if (annotations.idempotentHint === true) hints.push("idempotent");
  if (annotations.openWorldHint === true) hints.push("reaches outside");
  return hints;
}

/** The input schema; one that takes anything where there is none. */
export function inputSchemaOf(definition: Record<string, unknown>): JsonSchema {
  const schema = definition.inputSchema;
  return isSchema(schema) ? schema : { type: "object" };
}

export function outputSchemaOf(definition: Record<string, unknown>): JsonSchema | null {
  const schema = definition.outputSchema;
  return isSchema(schema) ? schema : null;
}

export function titleOf(definition: Record<string, unknown>): string | null {
  const { title, annotations } = definition;
  if (typeof title === "string" && title !== "") return title;
  const older = isObject(annotations) ? annotations.title : undefined;
  return typeof older === "string" && older !== "" ? older : null;
}
