import type { NavigationGroup } from "./navigation";
import styles from "./ShortcutList.module.css";

export function ShortcutList({ groups }: { groups: NavigationGroup[] }): React.JSX.Element {
  const pages = groups.flatMap((group) => group.items).map((item): [string[], string] => [["g", item.key], `Go to ${item.label}`]);
  const rows: [string[], string][] = [
    ...pages,
    [["/"], "Search on this page"],
    [["t"], "Theme: system, light, dark"],
    [["?"], "Show these shortcuts"],
    [["↑", "↓"], "From row to row in a list; Home and End for the first and the last"],
    [["Enter"], "Open the row"],
    [["Esc"], "Close a dialog, empty a search"],
  ];
  return (
    <dl className={styles.list}>
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
  );
}
