import { isObject, type Json } from "~/forms/json";

export interface Difference {
  /** Names and indices from the root. */
  path: (string | number)[];
  before: Json | undefined;
  after: Json | undefined;
}

/** Members of a result that speak of one connection and one moment, and not of what was asked (2026-07-28). */
const PASSING = new Set(["_meta", "resultType", "ttlMs", "cacheScope"]);

/** A result as two of them are compared. */
export function comparable(result: Json | undefined): Json | undefined {
  return isObject(result) ? (Object.fromEntries(Object.entries(result).filter(([name]) => !PASSING.has(name)))) : result;
}

export const DIFFERENCES = 200;

/** Where two JSON values differ, as far down as both have the same shape; at most `DIFFERENCES`. Key order does not count. */
export function differences(before: Json | undefined, after: Json | undefined): Difference[] {
  const found: Difference[] = [];
  compare(before, after, [], found);
  return found;
}

function compare(before: Json | undefined, after: Json | undefined, path: (string | number)[], found: Difference[]): void {
  if (found.length >= DIFFERENCES || before === after) return;
  if (Array.isArray(before) && Array.isArray(after)) {
    for (let index = 0; index < Math.max(before.length, after.length); index++) compare(before[index], after[index], [...path, index], found);
    return;
  }
  if (isObject(before) && isObject(after)) {
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
      compare(before[name], after[name], [...path, name], found);
    }
    return;
  }
  found.push({ path, before, after });
}
