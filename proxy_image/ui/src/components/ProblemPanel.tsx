import { CircleAlert, RotateCw } from "lucide-react";

import type { ApiProblem } from "~/api/problem";

import { Button } from "./Button";
import styles from "./ProblemPanel.module.css";

export function ProblemPanel({ problem, retry }: { problem: ApiProblem; retry?: () => void }): React.JSX.Element {
  return (
    <div className={styles.panel} role="alert">
      <CircleAlert size={18} aria-hidden className={styles.icon} />
      <div className={styles.text}>
        <p className={styles.title}>{problem.title}</p>
        {problem.detail !== null && <p>{problem.detail}</p>}
        {problem.instance !== null && <p className={styles.instance}>{problem.instance}</p>}
      </div>
      {retry !== undefined && (
        <Button icon={RotateCw} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}
