import { useEffect, useRef, useState } from "react";

import { CopyButton } from "~/components/JsonView";
import { Card } from "~/components/Page";

import styles from "./Logs.module.css";

const NEAR_PX = 24;

/** What a stdio server wrote to standard error; follows the end until somebody scrolls up. */
export function Logs({ lines, hint, operator }: { lines: string[]; hint: string | null; operator: boolean }): React.JSX.Element {
  const box = useRef<HTMLPreElement>(null);
  const [following, setFollowing] = useState(true);
  const text = lines.join("\n");
  useEffect(() => {
    if (following && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [text, following]);
  const scrolled = (): void => {
    const element = box.current;
    if (element !== null) setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX);
  };
  return (
    <Card title="Logs" beside={<span className="muted">{lines.length > 0 && `${lines.length} lines of standard error, ${following ? "following" : "not following"}`}</span>} flush>
      {lines.length === 0 ? (
        <p className={styles.none}>{hint ?? (operator ? "It has written nothing to standard error." : "Logs are for operators of this gateway.")}</p>
      ) : (
        <div className={styles.box}>
          <CopyButton text={text} label="Copy the log" />
          <pre ref={box} className={styles.lines} tabIndex={0} aria-label="Log" role="log" onScroll={scrolled}>
            {text}
          </pre>
        </div>
      )}
    </Card>
  );
}
