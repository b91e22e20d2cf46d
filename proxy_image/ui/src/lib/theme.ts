import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "mcp-inspector.theme";
const listeners = new Set<() => void>();
let theme: Theme = stored();

function stored(): Theme {
  try {
    const found = globalThis.localStorage.getItem(KEY);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system";
  }
}

/** The one after it, as the switch goes round. */
export function nextTheme(now: Theme): Theme {
  return now === "system" ? "light" : now === "light" ? "dark" : "system";
}

export function applyTheme(): void {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
}

export function setTheme(value: Theme): void {
  theme = value;
  try {
    if (value === "system") globalThis.localStorage.removeItem(KEY);
    else globalThis.localStorage.setItem(KEY, value);
  } catch {
    // for as long as the page is open, then
  }
  applyTheme();
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => theme,
  );
}
