import { useCallback, useEffect, useRef, useState } from "react";

import { get } from "~/api/client";
import { type ApiProblem, asProblem } from "~/api/problem";
import type { ExchangeItem, Traffic } from "~/api/types";
import { useLive } from "~/lib/live";

import { merged } from "./exchanges";

const WAIT_S = 25;
const AGAIN_MS = 2_000;

export interface Watched {
  exchanges: readonly ExchangeItem[];
  problem: ApiProblem | null;
  /** Whether an answer came already. */
  asked: boolean;
  clear: () => void;
}

/** What goes through the gateway while this page is open and live, by long polls. */
export function useTraffic(): Watched {
  const live = useLive();
  const [exchanges, setExchanges] = useState<readonly ExchangeItem[]>([]);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const [asked, setAsked] = useState(false);
  // kept over pauses, so that what happens meanwhile is there afterwards
  const position = useRef<string | null>(null);

  useEffect(() => {
    if (!live) return;
    const stop = new AbortController();
    const watch = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        try {
          const parameters = { after: position.current, wait: position.current === null ? 0 : WAIT_S };
          const traffic = await get<Traffic>("traffic", { parameters, signal: stop.signal });
          position.current = traffic.last;
          setExchanges((known) => merged(known, traffic.exchanges));
          setProblem(null);
          setAsked(true);
        } catch (error) {
          if (isStopped(stop.signal)) return;
          setProblem(asProblem(error));
          await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        }
      }
    };
    void watch();
    return () => stop.abort();
  }, [live]);

  return { exchanges, problem, asked, clear: useCallback(() => setExchanges([]), []) };
}

/** Asked anew, as it may have changed while something was awaited. */
function isStopped(signal: AbortSignal): boolean {
  return signal.aborted;
}
