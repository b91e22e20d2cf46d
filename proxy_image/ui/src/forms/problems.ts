import type { OutputUnit } from "@cfworker/json-schema";

/** A problem of a value: where it is (names and indices from the root) and what to do about it. */
export interface Problem {
  path: (string | number)[];
  message: string;
  keyword: string;
}

/** Keywords whose own message only says that something below them is wrong. */
const WRAPPERS = new Set([
  "properties",
  "patternProperties",
  "additionalProperties",
  "items",
  "prefixItems",
  "additionalItems",
  "contains",
  "allOf",
  "anyOf",
  "oneOf",
  "$ref",
  "$recursiveRef",
  "if",
  "dependentSchemas",
  "unevaluatedProperties",
  "unevaluatedItems",
]);
const BRANCH = /^(.*?\/(?:anyOf|oneOf))\/(\d+)(?:\/|$)/;

/** The problems that a person can act on: of each union those of the branch that fits best, without wrappers. */
export function problemsOf(units: readonly OutputUnit[]): Problem[] {
  const leaves = bestBranches(units).filter((unit, _, all) => !isWrapper(unit, all));
  const found = new Map<string, Problem>();
  for (const unit of leaves) {
    const problem = problemOf(unit);
    found.set(JSON.stringify([problem.path, problem.message]), problem);
  }
  return [...found.values()];
}

function isWrapper(unit: OutputUnit, all: readonly OutputUnit[]): boolean {
  if (!WRAPPERS.has(unit.keyword)) return false;
  return all.some((other) => other !== unit && !WRAPPERS.has(other.keyword) && within(other, unit));
}

function within(inner: OutputUnit, outer: OutputUnit): boolean {
  return inner.keywordLocation !== outer.keywordLocation && inner.instanceLocation.startsWith(outer.instanceLocation);
}

function bestBranches(units: readonly OutputUnit[]): OutputUnit[] {
  const scores = new Map<string, Map<string, number>>();
  for (const unit of units) {
    const match = BRANCH.exec(unit.keywordLocation);
    if (!match?.[1] || match[2] === undefined || WRAPPERS.has(unit.keyword)) continue;
    const branches = scores.get(match[1]) ?? new Map<string, number>();
    branches.set(match[2], (branches.get(match[2]) ?? 0) + weight(unit, match[1]));
    scores.set(match[1], branches);
  }
  return units.filter((unit) => {
    const match = BRANCH.exec(unit.keywordLocation);
    const branches = match?.[1] ? scores.get(match[1]) : undefined;
    if (!match?.[2] || !branches) return true;
    return branches.get(match[2]) === Math.min(...branches.values()) && firstBest(branches) === match[2];
  });
}

/** A branch of another type or with another constant is further away than one of which a member is wrong. */
function weight(unit: OutputUnit, union: string): number {
  const depth = unit.keywordLocation.slice(union.length).split("/").length;
  if (unit.keyword === "const") return 100;
  return unit.keyword === "type" && depth <= 3 ? 100 : 1;
}

function firstBest(branches: Map<string, number>): string | undefined {
  return [...branches.entries()].sort((one, other) => one[1] - other[1])[0]?.[0];
}

const MISSING = /^Instance does not have required property "(.*)"\.$/s;
const SURPLUS = /^Property "(.*)" does not match additional properties schema\.$/s;

function problemOf(unit: OutputUnit): Problem {
  const path = pathOf(unit.instanceLocation);
  const missing = unit.keyword === "required" ? MISSING.exec(unit.error) : null;
  if (missing?.[1] !== undefined) return { path: [...path, missing[1]], message: "is required", keyword: "required" };
  const surplus = unit.keyword === "additionalProperties" ? SURPLUS.exec(unit.error) : null;
  if (surplus?.[1] !== undefined) return { path: [...path, surplus[1]], message: "is not known here", keyword: unit.keyword };
  return { path, message: wording(unit), keyword: unit.keyword };
}

function wording(unit: OutputUnit): string {
  const kind = /Expected "(.*)"\.$/.exec(unit.error)?.[1];
  if (unit.keyword === "type" && kind) return `must be ${kind.split('", "').map(withArticle).join(" or ")}`;
  const choices = /does not match any of (\[.*\])\.$/s.exec(unit.error)?.[1];
  if (unit.keyword === "enum" && choices) return `must be one of ${listed(choices)}`;
  if (unit.keyword === "const") return `must be ${/does not match (.*)\.$/s.exec(unit.error)?.[1] ?? "the constant"}`;
  if (unit.keyword === "format") return `must be of the format ${/format "(.*)"\.$/.exec(unit.error)?.[1] ?? "of the schema"}`;
  if (unit.keyword === "pattern") return "must match the pattern of the schema";
  if (unit.keyword === "false") return "is not known here";
  return unit.error.replace(/^(Instance|String|Array|Property|Object)\b/, (word) => (word === "Instance" ? "value" : word.toLowerCase())).replace(/\.$/, "");
}

function withArticle(type: string): string {
  if (type === "null") return "null";
  return `${/^[aeiou]/.test(type) ? "an" : "a"} ${type}`;
}

function listed(choices: string): string {
  try {
    return (JSON.parse(choices) as unknown[]).map((choice) => (typeof choice === "string" ? choice : JSON.stringify(choice))).join(", ");
  } catch {
    return choices;
  }
}

/** The names of a JSON pointer in fragment form (RFC 6901, section 6). */
export function pathOf(pointer: string): (string | number)[] {
  const names = pointer.replace(/^#/, "").split("/").slice(1);
  return names.map((name) => {
    const plain = decode(name).replaceAll("~1", "/").replaceAll("~0", "~");
    return /^(0|[1-9]\d*)$/.test(plain) ? Number(plain) : plain;
  });
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
