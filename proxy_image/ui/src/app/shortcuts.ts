import { useEffect, useRef } from "react";

import { areSingleKeysOn } from "~/lib/singleKeys";

/** Whether keys typed there are text. */
function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

const SEQUENCE_MS = 1_500;

/** Keys such as `?` or sequences such as `g f` outside of fields and dialogs, without Ctrl, Alt or Meta, unless they are switched off. */
export function useShortcuts(actions: Record<string, () => void>): void {
  const current = useRef(actions);
  useEffect(() => {
    current.current = actions;
  });
  useEffect(() => {
    let prefix: { key: string; at: number } | null = null;
    const pressed = (event: KeyboardEvent): void => {
      if (!areSingleKeysOn() || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]") !== null) return;
      const sequence = prefix !== null && event.timeStamp - prefix.at < SEQUENCE_MS ? `${prefix.key} ${event.key}` : event.key;
      const action = current.current[sequence] ?? current.current[event.key];
      prefix = action === undefined && event.key.length === 1 ? { key: event.key, at: event.timeStamp } : null;
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** Puts the cursor into the page's search field, if it has one. */
export function focusSearch(): void {
  document.querySelector<HTMLInputElement>("main input[type=search]")?.focus();
}
