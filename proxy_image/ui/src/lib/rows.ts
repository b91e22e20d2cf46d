/** Rows of a table: sorting, searching, moving by keys. Pure. */

export interface Sort {
  by: string;
  direction: "up" | "down";
}

type Value = string | number | null;
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Sorted anew; what is unknown comes last either way, and equals stay as they were. */
export function sorted<Row>(rows: readonly Row[], value: ((row: Row) => Value) | undefined, direction: Sort["direction"]): Row[] {
  if (value === undefined) return [...rows];
  const sign = direction === "up" ? 1 : -1;
  return rows
    .map((row) => [value(row), row] as const)
    .sort(([one], [other]) => {
      if (one === null || other === null) return Number(one === null) - Number(other === null);
      const order = typeof one === "number" && typeof other === "number" ? one - other : collator.compare(String(one), String(other));
      return sign * order;
    })
    .map(([, row]) => row);
}

/** Whether every word of a search stands in one of the texts, whatever its case. */
export function matches(search: string, ...texts: (string | null | undefined)[]): boolean {
  const hay = texts.filter(Boolean).join("\n").toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}

/** Where a key leads from a row: an index, or null where the key is none of a list's. */
export function moved(key: string, from: number, length: number, page: number): number | null {
  if (length === 0) return null;
  const steps: Record<string, number> = { ArrowDown: from + 1, ArrowUp: from - 1, PageDown: from + page, PageUp: from - page, Home: 0, End: length - 1 };
  const to = steps[key];
  return to === undefined ? null : Math.min(length - 1, Math.max(0, to));
}

/** `name:up` of a URL, if there is such a column. */
export function parseSort(text: string | undefined, columns: readonly { id: string; value?: unknown }[]): Sort | null {
  const [by, direction] = (text ?? "").split(":");
  const known = columns.some((column) => column.id === by && column.value !== undefined);
  return known && by !== undefined && (direction === "up" || direction === "down") ? { by, direction } : null;
}
