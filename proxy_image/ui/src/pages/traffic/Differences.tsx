import type { JsonValue } from "~/api/types";
import { beginning, visible } from "~/content/text";

import styles from "./traffic.module.css";

interface Properties {
  label: string;
  /** Heads of the two columns. */
  before: string;
  after: string;
  /** `reversed`: what was before stands in the second column. */
  rows: { path: string; before: JsonValue | undefined; after: JsonValue | undefined; reversed?: boolean }[];
}

/** Where two values differ. */
export function Differences({ label, before, after, rows }: Properties): React.JSX.Element {
  return (
    <div className={styles.scrolled}>
      <table className={styles.differences} aria-label={label}>
        <thead>
          <tr>
            <th scope="col">Where</th>
            <th scope="col">{before}</th>
            <th scope="col">{after}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              <th scope="row">{visible(row.path)}</th>
              {row.reversed === true && <td className={styles.after}>{short(row.after)}</td>}
              <td className={styles.before}>{short(row.before)}</td>
              {row.reversed !== true && <td className={styles.after}>{short(row.after)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function short(value: JsonValue | undefined): string {
  if (value === undefined) return "absent";
  const text = JSON.stringify(value);
  return visible(text.length > 500 ? `${beginning(text, 500)} …` : text);
}
