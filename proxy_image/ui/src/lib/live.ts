import { useSyncExternalStore } from "react";

/** Whether pages refresh by themselves; one switch for all, for as long as the page is open. */
let live = true;
const listeners = new Set<() => void>();

export function setLive(value: boolean): void {
  live = value;
  for (const listener of listeners) listener();
}

export function isLive(): boolean {
  return live;
}

export function useLive(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    isLive,
  );
}
