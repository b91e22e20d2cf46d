import type { Condition } from "~/api/types";
import { Card } from "~/components/Page";
import { Status, type Tone } from "~/components/Status";
import { Time } from "~/components/Time";
import { words } from "~/lib/format";

import styles from "./Conditions.module.css";

const TONES: Record<Condition["status"], Tone> = { True: "ok", False: "bad", Unknown: "idle" };
const WORDS: Record<Condition["status"], string> = { True: "Yes", False: "No", Unknown: "Unknown" };

export function Conditions({ conditions }: { conditions: Condition[] }): React.JSX.Element {
  return (
    <Card title="Conditions" flush>
      <ul className={styles.list} aria-label="Conditions">
        {conditions.map((condition) => (
          <li key={condition.type} className={styles.item}>
            <span className={styles.type}>{words(condition.type)}</span>
            <Status tone={TONES[condition.status]}>{WORDS[condition.status]}</Status>
            <span className={styles.said}>
              <span className={styles.reason}>{condition.reason}</span>
              {condition.message !== "" && <span className={styles.message}>{condition.message}</span>}
            </span>
            <span className={styles.since}>{condition.since !== null && <Time at={condition.since} />}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
