import { diffLines } from "~/lib/diff";

import styles from "./Diff.module.css";

/** What was and what is, by path: marked by − and + as well as by colour. */
export function Diff({ text, label }: { text: string; label: string }): React.JSX.Element {
  return (
    <div className={styles.diff} role="group" aria-label={label}>
      {diffLines(text).map((line, index) =>
        line.kind === "note" ? (
          <p key={index} className={styles.note}>
            {line.text}
          </p>
        ) : (
          <div key={index} className={styles.change}>
            <p className={styles.path}>{line.path}</p>
            <p className={styles.before}>
              <del>{line.before}</del>
            </p>
            <p className={styles.after}>
              <ins>{line.after}</ins>
            </p>
          </div>
        ),
      )}
    </div>
  );
}
