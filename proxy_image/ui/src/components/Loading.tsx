import styles from "./Loading.module.css";

/** Shown after a moment only, so that what is quick does not flicker. */
export function Loading({ label, full = false }: { label: string; full?: boolean }): React.JSX.Element {
  return (
    <div className={`${styles.loading} ${full ? styles.full : ""}`} role="status">
      <span className={styles.wheel} aria-hidden />
      {label} …
    </div>
  );
}
