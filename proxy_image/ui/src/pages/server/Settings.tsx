import type { Limits as LimitsOf, ProcessReport, ServerRoute } from "~/api/types";
import { Facts } from "~/components/Facts";
import { Card } from "~/components/Page";
import { Status, Tag, type Tone } from "~/components/Status";
import { UNKNOWN, count, duration, words } from "~/lib/format";

import styles from "./Lists.module.css";

export function Limits({ limits }: { limits: LimitsOf }): React.JSX.Element {
  return (
    <Card title="Limits">
      <Facts
        facts={[
          ["Call timeout", `${limits.timeout} s`],
          ["Connect timeout", `${limits.connectTimeout} s`],
          ["Calls at a time", count(limits.concurrency)],
          ["Retries", count(limits.retries)],
        ]}
      />
    </Card>
  );
}

const TONES: Record<ProcessReport["state"], Tone> = { ready: "ok", idle: "idle", starting: "info", ending: "idle", stopped: "idle", backoff: "warn", "crash-loop": "bad" };

export function Process({ process }: { process: ProcessReport }): React.JSX.Element {
  const facts: [string, React.ReactNode][] = [
    ["Processes", count(process.processes)],
    ["PID", process.pid ?? UNKNOWN],
    ["Running for", process.uptimeSeconds === null ? UNKNOWN : duration(process.uptimeSeconds)],
    ["Restarts", count(process.restarts)],
  ];
  if (process.exitCode !== null) facts.push(["Last exit", process.exitCode < 0 ? `signal ${-process.exitCode}` : `code ${process.exitCode}`]);
  if (process.lastError !== null) facts.push(["Last error", process.lastError]);
  return (
    <Card title="Process" beside={<Status tone={TONES[process.state]}>{words(process.state)}</Status>}>
      <Facts facts={facts} />
    </Card>
  );
}

export function Routes({ routes }: { routes: ServerRoute[] }): React.JSX.Element {
  return (
    <Card title="Routes" flush>
      {routes.length === 0 ? (
        <p className={styles.none}>No route leads to it.</p>
      ) : (
        <ul>
          {routes.map((route) => (
            <li key={`${route.path} ${route.prefix}`} className={styles.item}>
              <span className="mono">{route.path}</span>
              <span className="muted">{route.name}</span>
              {route.prefix === "" ? <Tag>no prefix</Tag> : <Tag title="Stands before the names of its tools">{route.prefix}_</Tag>}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
