import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";

import { visible } from "~/content/text";
import { moved } from "~/lib/rows";

import styles from "./explore.module.css";

export interface Entry {
  key: string;
  /** In a fixed pitch. */
  name: string;
  description: string;
  /** Short facts at the right: the server, a warning. */
  tags?: React.ReactNode;
  dimmed?: boolean;
}

interface Properties {
  label: string;
  entries: Entry[];
  /** How many there are altogether, when not all are here yet. */
  total?: number;
  chosen: string | null;
  onChoose: (key: string) => void;
  /** The end of what is here is near. */
  onEnd?: () => void;
}

const HEIGHT = 58;

/** A list of any length of which only the visible entries exist. Arrow keys go through it, Enter chooses, Tab leaves it. */
export function EntryList({ label, entries, total = entries.length, chosen, onChoose, onEnd }: Properties): React.JSX.Element {
  const scroller = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const pending = useRef<number | null>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- this component is not memoised
  const virtual = useVirtualizer({
    count: entries.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => HEIGHT,
    getItemKey: (index) => entries[index]?.key ?? index,
    overscan: 8,
  });
  const shown = virtual.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  const current = Math.min(active, Math.max(0, entries.length - 1));

  useEffect(() => {
    if (entries.length < total && last >= entries.length - 20) onEnd?.();
  }, [entries.length, total, last, onEnd]);

  // the entry that a key went to exists only after it was scrolled to
  useEffect(() => {
    if (pending.current === null) return;
    const target = scroller.current?.querySelector<HTMLElement>(`[data-index="${pending.current}"] button`);
    if (target === null || target === undefined) return;
    pending.current = null;
    target.focus();
  });

  const pressed = (event: React.KeyboardEvent): void => {
    const to = moved(event.key, current, entries.length, Math.max(1, shown.length - 16));
    if (to === null) return;
    event.preventDefault();
    pending.current = to;
    virtual.scrollToIndex(to);
    setActive(to);
  };

  return (
    <div ref={scroller} className={styles.scroller} onKeyDown={pressed}>
      <ul aria-label={label} className={styles.entries} style={{ height: virtual.getTotalSize() }}>
        {shown.map((item) => {
          const entry = entries[item.index];
          if (entry === undefined) return null;
          return (
            <li
              key={item.key}
              ref={virtual.measureElement}
              data-index={item.index}
              aria-setsize={total}
              aria-posinset={item.index + 1}
              className={styles.entry}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <button
                type="button"
                className={styles.entryButton}
                aria-current={entry.key === chosen}
                data-dimmed={entry.dimmed === true}
                tabIndex={item.index === current ? 0 : -1}
                onFocus={() => setActive(item.index)}
                onClick={() => onChoose(entry.key)}
              >
                <span className={styles.entryHead}>
                  <bdi className={styles.entryName}>{visible(entry.name)}</bdi>
                  {entry.tags !== undefined && <span className={styles.entryTags}>{entry.tags}</span>}
                </span>
                <bdi className={styles.entryDescription}>{visible(entry.description.slice(0, 300))}</bdi>
              </button>
            </li>
          );
        })}
      </ul>
    </div>
  );
}
