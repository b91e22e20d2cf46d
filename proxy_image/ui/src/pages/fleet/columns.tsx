import type { FleetServer } from "~/api/types";
import { ServerLink } from "~/components/ServerLink";
import { Status, Tag } from "~/components/Status";
import type { Column } from "~/components/VirtualTable";
import { UNKNOWN, count, milliseconds, share } from "~/lib/format";
import { ERAS, health, rank, reached } from "~/lib/servers";

import styles from "./columns.module.css";

export const COLUMNS: Column<FleetServer>[] = [
  {
    id: "server",
    header: "Server",
    width: "minmax(160px, 2fr)",
    phone: "title",
    value: (server) => server.id,
    cell: (server) => <ServerLink id={server.id} />,
  },
  { id: "state", header: "State", width: "92px", phone: "side", value: rank, cell: State },
  { id: "note", header: "Note", width: "minmax(90px, 1.2fr)", phone: "below", cell: Note },
  {
    id: "reached",
    header: "Reached by",
    width: "128px",
    phone: "line",
    value: (server) => `${reached(server) ?? ""} ${server.era ?? ""}`,
    cell: Reached,
  },
  { id: "p50", header: "p50", width: "56px", align: "end", value: (server) => server.latency.p50, cell: (server) => milliseconds(server.latency.p50) },
  { id: "p95", header: "p95", width: "56px", align: "end", phone: "hide", value: (server) => server.latency.p95, cell: (server) => milliseconds(server.latency.p95) },
  { id: "calls", header: "Calls", width: "50px", align: "end", value: (server) => server.calls, cell: (server) => count(server.calls) },
  { id: "errors", header: "Errors", width: "72px", align: "end", phone: "hide", value: (server) => server.errors, cell: Errors },
  { id: "restarts", header: "Restarts", width: "60px", align: "end", phone: "hide", value: (server) => server.restarts, cell: (server) => <Number value={server.restarts} /> },
  { id: "tools", header: "Tools", width: "44px", align: "end", value: (server) => server.tools, cell: (server) => <Number value={server.tools} /> },
  { id: "sessions", header: "Sessions", width: "60px", align: "end", phone: "hide", value: (server) => server.sessions, cell: (server) => <Number value={server.sessions} /> },
];

function State(server: FleetServer): React.JSX.Element {
  const { tone, word, why } = health(server);
  return (
    <Status tone={tone} title={why ?? undefined}>
      {word}
    </Status>
  );
}

function Reached(server: FleetServer): React.JSX.Element {
  const by = reached(server);
  return (
    <span className={styles.tags}>
      {by === null ? UNKNOWN : <Tag>{by}</Tag>}
      {server.era !== null && <Tag title={server.protocolVersion ?? undefined}>{ERAS[server.era]}</Tag>}
    </span>
  );
}

function Number({ value }: { value: number }): React.JSX.Element {
  return <span className={value === 0 ? "muted" : ""}>{count(value)}</span>;
}

function Errors(server: FleetServer): React.JSX.Element {
  if (server.errors === 0) return <Number value={0} />;
  return (
    <span className={styles.errors}>
      {count(server.errors)} <span className="muted">{share(server.errors, server.calls)}</span>
    </span>
  );
}

function Note(server: FleetServer): React.JSX.Element | null {
  const { why, tone } = health(server);
  const waiting = server.unapproved === 1 ? "1 definition waits for approval" : `${server.unapproved} definitions wait for approval`;
  const text = why ?? (server.unapproved > 0 ? waiting : "");
  if (text === "") return null;
  return (
    <span className={tone === "bad" ? styles.errors : "muted"} title={text}>
      {text}
    </span>
  );
}
