/** Lines of a diff as a proxy reports them: `path: old -> new`; anything else is shown as it is. Pure. */

export type DiffLine = { kind: "change"; path: string; before: string; after: string } | { kind: "note"; text: string };

const CHANGE = /^([^\s:][^:]*): (.*?) -> (.*)$/s;

export function diffLines(text: string): DiffLine[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, path, before, after] = CHANGE.exec(line) ?? [];
      return path === undefined || before === undefined || after === undefined ? { kind: "note", text: line } : { kind: "change", path, before, after };
    });
}
