import type { JsonObject } from "~/forms/json";
import { milliseconds } from "~/lib/format";

import type { Outcome } from "./useRequest";

/** What a result that is none of an error is called; a tool's own error is one too. */
export type Verdict = (result: JsonObject) => { tone: "ok" | "bad"; text: string };

export const ANSWERED: Verdict = () => ({ tone: "ok", text: "Answered" });

/** One short sentence for screen readers. Why a request failed is an alert of its own. */
export function announced(outcome: Outcome, verdict: Verdict = ANSWERED): string {
  switch (outcome.state) {
    case "running":
      return "Waiting for the answer";
    case "done":
      return `${verdict(outcome.result).text} after ${milliseconds(outcome.milliseconds)}`;
    default:
      return "";
  }
}
