import type { JsonValue } from "~/api/types";

/** `tools`, `tools.listChanged`: the capabilities that a server declares (an object is one, `false` is none), sorted. */
export function capabilityNames(capabilities: Record<string, JsonValue>): string[] {
  const found: string[] = [];
  for (const [name, value] of Object.entries(capabilities)) {
    if (value === null || value === false) continue;
    found.push(name);
    if (typeof value !== "object" || Array.isArray(value) || name === "experimental") continue;
    for (const [part, on] of Object.entries(value)) if (on === true || (typeof on === "object" && on !== null)) found.push(`${name}.${part}`);
  }
  return found.sort();
}
