import { keepPreviousData, useQuery, type UseQueryResult } from "@tanstack/react-query";

import { isObject, type JsonObject } from "~/forms/json";
import { useSettled } from "~/lib/settled";

import { connection, send } from "./connections";
import { faultOf } from "./fault";

/** Whose argument is completed, as routes name it (MCP, server/utilities/completion). */
export type Reference = { type: "ref/prompt"; name: string } | { type: "ref/resource"; uri: string };

/** What a form needs to offer values that servers propose. */
export interface Completion {
  route: string;
  reference: Reference;
}

export interface Completed {
  values: string[];
  /** How many there are, as far as the server says; at most 100 come at once. */
  total: number | null;
  more: boolean;
}

const TYPING_MS = 200;

/** Completion for what is chosen, where some server of the route has it: others answer with an error. */
export function useCompletion(route: string, reference: Reference): Completion | null {
  const able = useQuery({
    queryKey: ["completes", route],
    enabled: route !== "",
    queryFn: async () => (await connection(route)).client.getServerCapabilities()?.completions !== undefined,
  });
  return able.data === true ? { route, reference } : null;
}

/** Values for one argument, once it has not changed for a moment; a question that nobody waits for any more is cancelled. */
export function useCompleted({ route, reference }: Completion, name: string, value: string, others: Record<string, string>, wanted: boolean): UseQueryResult<Completed> {
  const text = useSettled(value, TYPING_MS);
  return useQuery({
    queryKey: ["completion", route, reference, name, text, others],
    enabled: wanted,
    placeholderData: keepPreviousData,
    staleTime: 5_000,
    gcTime: 30_000,
    retry: false,
    queryFn: async ({ signal }) => {
      try {
        const params = completeParams(reference, name, text, others);
        return completedOf(await send(route, { method: "completion/complete", params }, { signal }));
      } catch (error) {
        const { title, detail } = faultOf(error);
        throw new Error(`${title}: ${detail}`, { cause: error });
      }
    },
  });
}

/** Params of `completion/complete`; what is filled in elsewhere is its context, where there is some. */
export function completeParams(reference: Reference, name: string, value: string, others: Record<string, string>): JsonObject {
  const asked: JsonObject = { ref: { ...reference }, argument: { name, value } };
  return Object.keys(others).length === 0 ? asked : { ...asked, context: { arguments: others } };
}

/** The other arguments of a form that have a value. */
export function othersOf(data: unknown, name: string): Record<string, string> {
  if (!isObject(data)) return {};
  return Object.fromEntries(Object.entries(data).filter((entry): entry is [string, string] => entry[0] !== name && typeof entry[1] === "string" && entry[1] !== ""));
}

/** Of a CompleteResult; each value once, and nothing that is no text. */
export function completedOf(result: unknown): Completed {
  const completion = isObject(result) && isObject(result.completion) ? result.completion : {};
  const given: unknown[] = Array.isArray(completion.values) ? completion.values : [];
  const values = [...new Set(given.filter((value): value is string => typeof value === "string"))];
  const total = typeof completion.total === "number" && completion.total > values.length ? completion.total : null;
  return { values, total, more: completion.hasMore === true || total !== null };
}

/** What is said below the field, and to screen readers. */
export function suggested({ values, total, more }: Completed): string {
  if (values.length === 0) return "The server suggests nothing for this.";
  const count = values.length === 1 ? "1 suggestion" : `${values.length} suggestions`;
  if (total !== null) return `${count} of ${total}: ↓ shows them.`;
  return more ? `${count}, and there are more: ↓ shows them.` : `${count}: ↓ shows ${values.length === 1 ? "it" : "them"}.`;
}
