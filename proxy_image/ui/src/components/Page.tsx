import { useEffect } from "react";

import styles from "./Page.module.css";

interface Properties {
  title: string;
  /** Above the title: the way back. */
  above?: React.ReactNode;
  /** Beside the title: a badge, a number. */
  beside?: React.ReactNode;
  /** At the right: buttons. */
  actions?: React.ReactNode;
  /** One line below it. */
  lead?: React.ReactNode;
  /** Takes the height of the window, for lists that scroll themselves. */
  fill?: boolean;
  children: React.ReactNode;
}

export function Page({ title, above, beside, actions, lead, fill = false, children }: Properties): React.JSX.Element {
  useEffect(() => {
    document.title = `${title} · MCP inspector`;
  }, [title]);
  return (
    <div className={`${styles.page} ${fill ? styles.fill : ""}`}>
      <header className={styles.head}>
        <div className={styles.titles}>
          {above}
          <div className={styles.line}>
            <h1>{title}</h1>
            {beside}
          </div>
          {lead !== undefined && <p className={styles.lead}>{lead}</p>}
        </div>
        {actions !== undefined && <div className={styles.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** A titled surface. */
export function Card({ title, beside, children, flush = false }: { title: string; beside?: React.ReactNode; children: React.ReactNode; flush?: boolean }): React.JSX.Element {
  return (
    <section className={styles.card}>
      <header className={styles.cardHead}>
        <h2>{title}</h2>
        {beside}
      </header>
      <div className={flush ? styles.flush : styles.body}>{children}</div>
    </section>
  );
}
