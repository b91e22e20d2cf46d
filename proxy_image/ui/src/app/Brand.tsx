import styles from "./Brand.module.css";

export function Brand({ name }: { name: string | null }): React.JSX.Element {
  return (
    <span className={styles.brand}>
      <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden>
        <rect width="32" height="32" rx="7" className={styles.plate} />
        <path d="M8 22V10l8 8 8-8v12" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" strokeLinejoin="round" />
      </svg>
      <span className={styles.product}>Inspector</span>
      {name !== null && (
        <>
          <span className={styles.slash} aria-hidden>
            /
          </span>
          <span className={styles.name}>{name}</span>
        </>
      )}
    </span>
  );
}
