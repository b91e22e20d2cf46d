import { ArrowLeft } from "lucide-react";

import { Button } from "~/components/Button";

import styles from "./explore.module.css";

interface Properties {
  /** The list. */
  side: React.ReactNode;
  /** What was chosen of it, or null. */
  chosen: React.ReactNode;
  /** Shown in its place while nothing is chosen. */
  empty: React.ReactNode;
  back: string;
  onBack: () => void;
}

/** A list and what was chosen of it, side by side; on a phone one of them. */
export function Split({ side, chosen, empty, back, onBack }: Properties): React.JSX.Element {
  const some = chosen !== null;
  return (
    <div className={styles.split} data-chosen={some}>
      <div className={styles.side}>{side}</div>
      <section className={styles.detail} aria-label="Details">
        {some && (
          <div className={styles.back}>
            <Button icon={ArrowLeft} onClick={onBack}>
              {back}
            </Button>
          </div>
        )}
        {some ? chosen : empty}
      </section>
    </div>
  );
}
