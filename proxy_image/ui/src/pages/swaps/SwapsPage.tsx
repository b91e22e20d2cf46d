import { History } from "lucide-react";

import { useSwaps } from "~/api/queries";
import type { Change, SwapItem, Swaps } from "~/api/types";
import { Empty } from "~/components/Empty";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { Status, Tag } from "~/components/Status";
import { Time } from "~/components/Time";
import { count, milliseconds } from "~/lib/format";

import styles from "./SwapsPage.module.css";

export function SwapsPage(): React.JSX.Element {
  const swaps = useSwaps();
  return (
    <Page title="Swaps" lead="Configurations that this gateway took while it ran, the newest first. No session ends with one and no call fails.">
      <Query query={swaps} label="Asking for the swaps">
        {(data) => <Timeline swaps={data} />}
      </Query>
    </Page>
  );
}

function Timeline({ swaps }: { swaps: Swaps }): React.JSX.Element {
  if (swaps.items.length === 0) return <Empty icon={History} title="No configuration yet" />;
  return (
    <ol className={styles.list} aria-label="Swaps">
      {swaps.items.map((item) => (
        <Item key={`${item.at} ${item.revision ?? ""}`} item={item} current={item.outcome === "applied" && item.revision === swaps.current} />
      ))}
    </ol>
  );
}

function Item({ item, current }: { item: SwapItem; current: boolean }): React.JSX.Element {
  const applied = item.outcome === "applied";
  return (
    <li className={styles.item} data-outcome={item.outcome}>
      <header className={styles.head}>
        <Status tone={applied ? "ok" : "bad"}>{applied ? "Applied" : "Rejected"}</Status>
        {item.revision !== null && <code title={item.revision}>{item.revision.slice(0, 12)}</code>}
        {current && <Tag>in use</Tag>}
        <span className={styles.when}>
          {item.seconds !== null && <span>took {milliseconds(item.seconds * 1000)}</span>}
          <Time at={item.at} />
        </span>
      </header>
      {item.message !== null && item.message !== "" && <p className={styles.message}>{item.message}</p>}
      {item.changes.length > 0 && (
        <ul className={styles.changes} aria-label="Changes">
          {item.changes.map((change) => (
            <Changed key={`${change.kind} ${change.name}`} change={change} />
          ))}
          {item.total > item.changes.length && <li className="muted">and {count(item.total - item.changes.length)} more</li>}
        </ul>
      )}
      {applied && item.total === 0 && <p className="muted">Nothing that a client can see changed.</p>}
    </li>
  );
}

const SIGNS: Record<Change["change"], string> = { added: "+", removed: "−", changed: "~" };

function Changed({ change }: { change: Change }): React.JSX.Element {
  return (
    <li className={styles.change} data-change={change.change}>
      <span className={styles.sign} aria-hidden>
        {SIGNS[change.change]}
      </span>
      <span className={styles.what}>
        {change.kind} <strong>{change.name}</strong> <span className="visually-hidden">{change.change}</span>
      </span>
      {change.fields.map((field) => (
        <Tag key={field}>{field}</Tag>
      ))}
    </li>
  );
}
