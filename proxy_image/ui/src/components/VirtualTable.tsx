import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { useEffect, useEffectEvent, useRef, useState } from "react";

import { moved, type Sort } from "~/lib/rows";

import styles from "./VirtualTable.module.css";

export interface Column<Row> {
  id: string;
  header: string;
  /** A track of a CSS grid. */
  width: string;
  cell: (row: Row) => React.ReactNode;
  align?: "end";
  /** What sorting compares; left out: the column does not sort. */
  value?: (row: Row) => string | number | null;
  /** On a phone a row is a card: its title, what stands beside that, what stands below both, a line with a label, or not at all. */
  phone?: "title" | "side" | "below" | "line" | "hide";
}

interface Properties<Row> {
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
  sort?: Sort | null;
  onSort?: (sort: Sort) => void;
  rowHeight?: number;
  selected?: string | null;
  /** Narrower than this it scrolls sideways, but on a phone. */
  minWidth?: number;
}

/**
 * A table of any length of which only the visible rows exist. Each row's first link or button is what arrow keys go to; Tab
 * leaves the table.
 */
export function VirtualTable<Row>({ label, columns, rows, rowKey, sort = null, onSort, rowHeight = 40, selected = null, minWidth = 980 }: Properties<Row>): React.JSX.Element {
  const scroller = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const pending = useRef<number | null>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- this component is not memoised
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    getItemKey: (index) => rowKey(rows[index] as Row),
    overscan: 8,
  });
  const current = Math.min(active, Math.max(0, rows.length - 1));
  const template = { "--columns": columns.map((column) => column.width).join(" "), "--min-width": `${minWidth}px` } as React.CSSProperties;

  // the row that a key went to exists only after it was scrolled to
  useEffect(() => {
    if (pending.current === null) return;
    const target = scroller.current?.querySelector<HTMLElement>(`[data-index="${pending.current}"] :is(a, button)`);
    if (target === null || target === undefined) return;
    pending.current = null;
    target.focus();
  });

  // what was chosen stays in view, also where what is shown of it takes some of the table's room
  const chosen = selected === null ? -1 : rows.findIndex((row) => rowKey(row) === selected);
  const isThere = chosen >= 0;
  const show = useEffectEvent(() => {
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${chosen}"]`);
    if (row === null || row === undefined) virtual.scrollToIndex(chosen);
    else row.scrollIntoView({ block: "nearest" });
  });
  useEffect(() => {
    if (isThere) show();
  }, [selected, isThere]);

  const pressed = (event: React.KeyboardEvent): void => {
    if (!(event.target instanceof HTMLElement) || event.target.closest("[data-index]") === null) return;
    const to = moved(event.key, current, rows.length, Math.max(1, virtual.getVirtualItems().length - 16));
    if (to === null) return;
    event.preventDefault();
    pending.current = to;
    virtual.scrollToIndex(to);
    setActive(to);
  };

  return (
    <div ref={scroller} className={styles.scroller} onKeyDown={pressed}>
      <div role="table" aria-label={label} aria-rowcount={rows.length + 1} className={styles.table} style={template}>
        <div role="rowgroup" className={styles.head}>
          <div role="row" aria-rowindex={1} className={styles.row}>
            {columns.map((column) => (
              <Head key={column.id} column={column} sort={sort} onSort={onSort} />
            ))}
          </div>
        </div>
        <div role="rowgroup" className={styles.body} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index] as Row;
            return (
              <div
                key={item.key}
                ref={virtual.measureElement}
                role="row"
                aria-rowindex={item.index + 2}
                data-index={item.index}
                data-active={item.index === current}
                data-selected={selected !== null && rowKey(row) === selected}
                className={styles.row}
                style={{ transform: `translateY(${item.start}px)` }}
                onFocus={() => setActive(item.index)}
              >
                {columns.map((column) => (
                  <div key={column.id} role="cell" className={styles.cell} data-align={column.align} data-phone={column.phone ?? "line"} data-label={column.header}>
                    {column.cell(row)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Head<Row>({ column, sort, onSort }: { column: Column<Row>; sort: Sort | null; onSort: ((sort: Sort) => void) | undefined }): React.JSX.Element {
  const direction = sort?.by === column.id ? sort.direction : null;
  const sortable = column.value !== undefined && onSort !== undefined;
  const order = direction === null ? "none" : direction === "up" ? "ascending" : "descending";
  return (
    <div role="columnheader" className={styles.headCell} data-align={column.align} {...(sortable ? { "aria-sort": order } : {})}>
      {sortable ? (
        <button type="button" className={styles.sort} onClick={() => onSort({ by: column.id, direction: direction === "up" ? "down" : "up" })}>
          {column.header}
          {direction === "up" && <ArrowUp size={12} aria-hidden />}
          {direction === "down" && <ArrowDown size={12} aria-hidden />}
        </button>
      ) : (
        column.header
      )}
    </div>
  );
}
