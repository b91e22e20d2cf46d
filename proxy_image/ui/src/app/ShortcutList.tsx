import { useId } from "react";

import { setSingleKeys, useSingleKeys } from "~/lib/singleKeys";

import type { NavigationGroup } from "./navigation";
import styles from "./ShortcutList.module.css";

type Row = [keys: string[], meaning: string];

const ALWAYS: Row[] = [
  [["↑", "↓"], "From row to row in a list; Home and End for the first and the last"],
  [["Enter"], "Open the row"],
  [["Esc"], "Close a dialog, empty a search"],
];

export function ShortcutList({ groups }: { groups: NavigationGroup[] }): React.JSX.Element {
  const on = useSingleKeys();
  const id = useId();
  const pages = groups.flatMap((group) => group.items).map((item): Row => [["g", item.key], `Go to ${item.label}`]);
  const single: Row[] = [...pages, [["/"], "Search on this page"], [["t"], "Theme: system, light, dark"], [["?"], "Show these shortcuts"]];
  return (
    <div className={styles.parts}>
      <div className={styles.switch}>
        <input id={id} type="checkbox" checked={on} aria-describedby={`${id}-why`} onChange={(event) => setSingleKeys(event.target.checked)} />
        <label htmlFor={id}>Single-key shortcuts</label>
        <p id={`${id}-why`} className="muted">
          Switch them off where you speak to the machine, or hit keys by chance. This browser remembers it.
        </p>
      </div>
      <Rows rows={single} off={!on} label={on ? "Single keys, outside of fields" : "Single keys: switched off"} />
      <Rows rows={ALWAYS} label="In lists and dialogs" />
    </div>
  );
}

function Rows({ rows, label, off = false }: { rows: Row[]; label: string; off?: boolean }): React.JSX.Element {
  return (
    <section className={styles.part}>
      <h3>{label}</h3>
      <dl className={styles.list} data-off={off}>
        {rows.map(([keys, meaning]) => (
          <div key={meaning} className={styles.row}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
