import type { ElicitRequestParams, ElicitResult } from "@modelcontextprotocol/client";
import { useSyncExternalStore } from "react";

/** What a server asks the user in the middle of a request (elicitation). */
export interface Question {
  id: number;
  route: string;
  params: ElicitRequestParams;
  answer: (result: ElicitResult) => void;
}

let questions: readonly Question[] = [];
let next = 1;
const listeners = new Set<() => void>();

function update(changed: readonly Question[]): void {
  questions = changed;
  for (const listener of listeners) listener();
}

/** Puts a question to the user; cancelled with the request that it belongs to. */
export function ask(route: string, params: ElicitRequestParams, signal: AbortSignal): Promise<ElicitResult> {
  return new Promise((resolve) => {
    const id = next++;
    const answer = (result: ElicitResult): void => {
      update(questions.filter((question) => question.id !== id));
      resolve(result);
    };
    signal.addEventListener("abort", () => answer({ action: "cancel" }), { once: true });
    update([...questions, { id, route, params, answer }]);
  });
}

/** The oldest question that waits. */
export function useQuestion(): Question | undefined {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => questions[0],
  );
}
