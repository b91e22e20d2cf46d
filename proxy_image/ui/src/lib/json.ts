import type { JsonValue } from "~/api/types";

/** Pieces of formatted JSON, for colouring. */
export interface Token {
  kind: "key" | "string" | "number" | "word" | "mark";
  text: string;
}

const PIECES = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)|([^"\dtfn-]+|.)/gs;

/** Of any text: all of it comes back, in order, so that a cut text can be shown too. */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (const [whole, quoted, colon, numeral, word] of text.matchAll(PIECES)) {
    if (quoted !== undefined) {
      found.push({ kind: colon === undefined ? "string" : "key", text: quoted });
      if (colon !== undefined) found.push({ kind: "mark", text: colon });
    } else if (numeral !== undefined) found.push({ kind: "number", text: numeral });
    else found.push({ kind: word === undefined ? "mark" : "word", text: whole });
  }
  return found;
}

/** JSON as a value; a text that is none stays a text. */
export function parsed(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}
