import { useSyncExternalStore } from "react";

const KEY = "mcp-inspector.single-keys";
const listeners = new Set<() => void>();
let on = stored();

function stored(): boolean {
  try {
    return globalThis.localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

/** Whether single keys are shortcuts: who speaks to the machine, or hits keys by chance, can switch them off (WCAG 2.1, 2.1.4). */
export function areSingleKeysOn(): boolean {
  return on;
}

/** Kept by this browser. */
export function setSingleKeys(value: boolean): void {
  on = value;
  try {
    if (value) globalThis.localStorage.removeItem(KEY);
    else globalThis.localStorage.setItem(KEY, "off");
  } catch {
    // for as long as the page is open, then
  }
  for (const listener of listeners) listener();
}

export function useSingleKeys(): boolean {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, areSingleKeysOn);
}
