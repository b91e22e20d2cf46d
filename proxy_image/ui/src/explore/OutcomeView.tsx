import { X } from "lucide-react";
import { useEffect, useState } from "react";

import { Button } from "~/components/Button";
import { JsonView } from "~/components/JsonView";
import { Status } from "~/components/Status";
import { visible } from "~/content/text";
import type { JsonObject } from "~/forms/json";
import { milliseconds } from "~/lib/format";
import type { LogLine } from "~/mcp/connections";
import type { Fault } from "~/mcp/fault";

import { ANSWERED, type Verdict } from "./announcement";
import styles from "./explore.module.css";
import type { Outcome, Running } from "./useRequest";

export interface OutcomeProperties {
  outcome: Outcome;
  onCancel: () => void;
  /** How a result is shown. */
  children: (result: JsonObject) => React.ReactNode;
  verdict?: Verdict;
}

/** A request's way: waiting with progress, then its result or why there is none. `Announced` tells it to screen readers. */
export function OutcomeView({ outcome, onCancel, children, verdict = ANSWERED }: OutcomeProperties): React.JSX.Element | null {
  if (outcome.state === "idle") return null;
  if (outcome.state === "running") return <Waiting running={outcome} onCancel={onCancel} />;
  if (outcome.state === "failed") {
    return (
      <div className={styles.stack}>
        <FaultView fault={outcome.fault} milliseconds={outcome.milliseconds} />
        <Logs lines={outcome.logs} />
      </div>
    );
  }
  const { tone, text } = verdict(outcome.result);
  return (
    <div className={styles.stack}>
      <p className={styles.outcomeHead}>
        <Status tone={tone}>{text}</Status>
        <span>{milliseconds(outcome.milliseconds)}</span>
        {outcome.version !== undefined && <span className="muted">MCP {outcome.version}</span>}
      </p>
      {children(outcome.result)}
      <Logs lines={outcome.logs} />
      <details className={styles.more}>
        <summary>The whole result</summary>
        <JsonView value={outcome.result} label="The whole result" />
      </details>
    </div>
  );
}

function Waiting({ running: { progress, logs }, onCancel }: { running: Running; onCancel: () => void }): React.JSX.Element {
  const part = progress === null ? undefined : progress.total === undefined ? String(progress.progress) : `${progress.progress} of ${progress.total}`;
  return (
    <div className={styles.stack}>
      <div className={styles.outcomeHead}>
        <Status tone="info">Waiting</Status>
        <Seconds />
        <Button icon={X} onClick={onCancel}>
          Cancel
        </Button>
      </div>
      <div className={styles.progress}>
        <progress aria-label="Progress" {...(progress?.total === undefined ? {} : { value: progress.progress, max: progress.total })} />
        {part !== undefined && (
          <p>
            {part}
            {progress?.message !== undefined && `: ${visible(progress.message)}`}
          </p>
        )}
      </div>
      <Logs lines={logs} />
    </div>
  );
}

function Seconds(): React.JSX.Element {
  const [began] = useState(() => performance.now());
  const [spent, setSpent] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSpent(performance.now() - began), 100);
    return () => clearInterval(timer);
  }, [began]);
  return <span aria-hidden>{(spent / 1000).toFixed(1)} s</span>;
}

export function FaultView({ fault, milliseconds: spent }: { fault: Fault; milliseconds?: number }): React.JSX.Element {
  return (
    <div className={styles.fault} data-kind={fault.kind} role="alert">
      <p>
        <strong>{fault.title}</strong>
        {spent !== undefined && ` after ${milliseconds(spent)}`}
      </p>
      <p dir="auto">{visible(fault.detail)}</p>
      {fault.data !== undefined && <JsonView value={fault.data} label="The error's data" />}
    </div>
  );
}

function Logs({ lines }: { lines: readonly LogLine[] }): React.JSX.Element | null {
  if (lines.length === 0) return null;
  return (
    <div className={styles.stack}>
      <h3 className={styles.subhead}>Log messages of the server</h3>
      <ol className={styles.logs} aria-label="Log messages" tabIndex={0}>
        {lines.map((line, index) => (
          <li key={index}>
            <span className={styles.level}>{line.level}</span>
            <bdi>{visible(line.text)}</bdi>
          </li>
        ))}
      </ol>
    </div>
  );
}
