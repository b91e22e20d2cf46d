import { Link } from "@tanstack/react-router";

import type { ExchangeItem } from "~/api/types";
import { Status, Tag, type Tone } from "~/components/Status";
import type { Column } from "~/components/VirtualTable";
import { visible } from "~/content/text";
import { milliseconds, UNKNOWN } from "~/lib/format";

import { isRewritten } from "./exchanges";

const TONES: Record<string, Tone> = { ok: "ok", notification: "idle", denied: "warn", limited: "warn" };
const WORDS: Record<string, string> = {
  ok: "OK",
  notification: "Notification",
  denied: "Denied",
  limited: "Limited",
  tool_error: "Tool error",
  error: "Error",
};

export function OutcomeStatus({ outcome }: { outcome: string }): React.JSX.Element {
  return <Status tone={TONES[outcome] ?? "bad"}>{WORDS[outcome] ?? outcome}</Status>;
}

/** The time of a day, to the millisecond. */
export function clock(at: string): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? UNKNOWN : `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export const COLUMNS: Column<ExchangeItem>[] = [
  { id: "at", header: "Time", width: "100px", cell: ({ at }) => <span className="mono">{clock(at)}</span>, phone: "line" },
  {
    id: "method",
    header: "Method",
    width: "minmax(130px, 1fr)",
    phone: "title",
    cell: ({ id, method }) => (
      <Link to="/traffic" search={(before) => ({ ...before, id })} className="mono">
        {visible(method)}
      </Link>
    ),
  },
  {
    id: "name",
    header: "Name",
    width: "minmax(160px, 2fr)",
    cell: ({ name }) => name !== null && <bdi className="mono">{visible(name)}</bdi>,
    phone: "below",
  },
  { id: "outcome", header: "Outcome", width: "116px", cell: ({ outcome }) => <OutcomeStatus outcome={outcome} />, phone: "side" },
  { id: "milliseconds", header: "Took", width: "72px", align: "end", cell: (row) => milliseconds(row.milliseconds), phone: "line" },
  { id: "server", header: "Server", width: "minmax(120px, 1fr)", cell: ({ server }) => server, phone: "line" },
  {
    id: "caller",
    header: "Caller",
    width: "minmax(80px, 0.7fr)",
    cell: ({ caller }) => caller !== null && <bdi>{visible(caller)}</bdi>,
    phone: "line",
  },
  {
    id: "notes",
    header: "Notes",
    width: "150px",
    phone: "line",
    cell: Notes,
  },
];

function Notes(exchange: ExchangeItem): React.JSX.Element | null {
  const rewritten = isRewritten(exchange);
  if (!rewritten && !exchange.lane) return null;
  return (
    <>
      {rewritten && <Tag title="What the gateway changed between its two sides">rewritten</Tag>} {exchange.lane && <Tag title="It took the fast lane">fast lane</Tag>}
    </>
  );
}
