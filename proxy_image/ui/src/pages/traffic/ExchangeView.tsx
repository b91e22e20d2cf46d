import { X } from "lucide-react";

import type { ExchangeItem, Leg } from "~/api/types";
import { IconButton } from "~/components/Button";
import { JsonView } from "~/components/JsonView";
import { Card } from "~/components/Page";
import { Tag } from "~/components/Status";
import { Text } from "~/content/Text";
import { visible } from "~/content/text";
import explore from "~/explore/explore.module.css";
import { milliseconds } from "~/lib/format";

import { clock, OutcomeStatus } from "./columns";
import { Differences } from "./Differences";
import { isRewritten } from "./exchanges";
import { Replay } from "./Replay";
import styles from "./traffic.module.css";

/** One exchange: both legs, what was rewritten between them, and sending it again. */
export function ExchangeView({ exchange, onClose }: { exchange: ExchangeItem; onClose: () => void }): React.JSX.Element {
  const { method, name, server, backend, rewritten } = exchange;
  return (
    <section className={styles.exchange} aria-label="Exchange">
      <header className={styles.head}>
        <h2>
          {visible(method)} {name !== null && <bdi className={styles.name}>{visible(name)}</bdi>}
        </h2>
        <IconButton icon={X} label="Close the exchange" onClick={onClose} />
      </header>
      <p className={explore.outcomeHead}>
        <OutcomeStatus outcome={exchange.outcome} />
        <span>{milliseconds(exchange.milliseconds)}</span>
        <span>at {clock(exchange.at)}</span>
        <span>by {exchange.route}</span>
        {exchange.caller !== null && (
          <span>
            as <bdi>{visible(exchange.caller)}</bdi>
          </span>
        )}
        {exchange.session !== null && <span>session {exchange.session.slice(0, 8)}</span>}
        {exchange.lane && <Tag>fast lane</Tag>}
      </p>
      <Card title="Rewritten between the two sides">
        {backend === null ? (
          <p className="muted">No server was asked: the gateway answered by itself.</p>
        ) : rewritten.length === 0 ? (
          <p className="muted">Nothing: both sides say the same.</p>
        ) : (
          <div className={explore.stack}>
            {!isRewritten(exchange) && <p className="muted">Nothing of what was said: each side has its own ids, and says who it is.</p>}
            <Differences
              label="Rewritten"
              before="Client's side"
              after="Server's side"
              // a response comes from the server and goes on to the client
              rows={rewritten.map(({ path, from, to }) => ({ path, before: from, after: to, reversed: path.startsWith("response") }))}
            />
          </div>
        )}
      </Card>
      <div className={styles.legs}>
        <LegView title="Client and gateway" leg={exchange.client} />
        {backend !== null && <LegView title={`Gateway and ${server ?? "server"}`} leg={backend} />}
      </div>
      <Replay exchange={exchange} />
    </section>
  );
}

function LegView({ title, leg }: { title: string; leg: Leg }): React.JSX.Element {
  return (
    <Card title={title} {...(leg.truncated ? { beside: <Tag title="A body longer than 64 KiB is cut">cut</Tag> } : {})}>
      <div className={explore.stack}>
        <h3 className={explore.subhead}>Request</h3>
        <Body value={leg.request} label={`${title}: request`} />
        <h3 className={explore.subhead}>Response</h3>
        <Body value={leg.response} label={`${title}: response`} />
      </div>
    </Card>
  );
}

/** A body that was cut is no JSON any more: then it is a text. */
function Body({ value, label }: { value: Leg["request"]; label: string }): React.JSX.Element {
  if (value === null) return <p className="muted">None.</p>;
  return typeof value === "string" ? <Text text={value} label={label} /> : <JsonView value={value} label={label} />;
}
