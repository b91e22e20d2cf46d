import styles from "./Facts.module.css";

/** Names and values in two columns. */
export function Facts({ facts }: { facts: [string, React.ReactNode][] }): React.JSX.Element {
  return (
    <dl className={styles.facts}>
      {facts.map(([name, value]) => (
        <div key={name} className={styles.fact}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Numbers side by side at the head of a page. */
export function Figures({ figures }: { figures: { label: string; value: React.ReactNode; note?: React.ReactNode }[] }): React.JSX.Element {
  return (
    <dl className={styles.figures}>
      {figures.map((figure) => (
        <div key={figure.label} className={styles.figure}>
          <dt>{figure.label}</dt>
          <dd>
            {figure.value}
            {figure.note !== undefined && <small>{figure.note}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
