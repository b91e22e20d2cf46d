import { UriTemplate } from "@modelcontextprotocol/client";

import type { JsonObject, JsonSchema } from "~/forms/json";

/** A form for the variables of a URI template (RFC 6570). Raises where it is none. */
export function templateSchema(template: string): JsonSchema {
  const names = new UriTemplate(template).variableNames;
  return { type: "object", required: names, properties: Object.fromEntries(names.map((name) => [name, { type: "string", title: name, minLength: 1 }])) };
}

export function expanded(template: string, values: JsonObject): string {
  return new UriTemplate(template).expand(
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])),
  );
}

/** A form for a prompt's arguments, which are texts. */
export function promptSchema(
  given: readonly { name: string; title?: string | undefined; description?: string | undefined; required?: boolean | undefined }[],
): JsonSchema {
  return {
    type: "object",
    required: given.filter((argument) => argument.required === true).map(({ name }) => name),
    properties: Object.fromEntries(
      given.map(({ name, title, description }) => [name, { type: "string", title: title ?? name, ...(description === undefined ? {} : { description }) }]),
    ),
  };
}
