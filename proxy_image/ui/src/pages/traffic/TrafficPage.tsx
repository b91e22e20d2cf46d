import { useNavigate, useSearch } from "@tanstack/react-router";
import { Activity, Eraser, SearchX } from "lucide-react";
import { useMemo } from "react";

import { Button } from "~/components/Button";
import { Empty } from "~/components/Empty";
import { SearchField, Select, Toolbar } from "~/components/Fields";
import { Loading } from "~/components/Loading";
import { Page } from "~/components/Page";
import { ProblemPanel } from "~/components/ProblemPanel";
import { VirtualTable } from "~/components/VirtualTable";
import { count } from "~/lib/format";
import { useLive } from "~/lib/live";
import { Questions } from "~/mcp/Questions";

import { COLUMNS } from "./columns";
import { ExchangeView } from "./ExchangeView";
import { type Filter, matches, valuesOf } from "./exchanges";
import styles from "./traffic.module.css";
import { useTraffic } from "./useTraffic";

export function TrafficPage(): React.JSX.Element {
  const search = useSearch({ from: "/traffic" });
  const navigate = useNavigate({ from: "/traffic" });
  const live = useLive();
  const { exchanges, problem, asked, clear } = useTraffic();
  const { q = "", method = "", server = "", outcome = "", id } = search;
  const rows = useMemo(() => {
    const filter: Filter = { text: q, method, server, outcome };
    return exchanges.filter((exchange) => matches(exchange, filter));
  }, [exchanges, q, method, server, outcome]);
  const chosen = id === undefined ? undefined : exchanges.find((exchange) => exchange.id === id);
  const change = (changes: Partial<typeof search>): void => void navigate({ search: (before) => ({ ...before, ...changes }), replace: true });

  return (
    <Page
      title="Traffic"
      fill
      lead={
        live
          ? "JSON-RPC on both sides of the gateway, as it happens. It is recorded only while somebody looks."
          : "Paused: what happens meanwhile is shown when you go on."
      }
      actions={
        <Button icon={Eraser} onClick={clear} disabled={exchanges.length === 0}>
          Clear
        </Button>
      }
    >
      <div className={styles.filters} data-chosen={chosen !== undefined}>
        <Toolbar>
          <SearchField label="Search traffic" value={q} onChange={(value) => change({ q: value })} />
          <Select
            label="Method"
            value={method}
            onChange={(value) => change({ method: value })}
            options={[{ value: "", label: "All" }, ...options(valuesOf(exchanges, "method"))]}
          />
          <Select
            label="Server"
            value={server}
            onChange={(value) => change({ server: value })}
            options={[{ value: "", label: "All" }, ...options(valuesOf(exchanges, "server"))]}
          />
          <Select
            label="Outcome"
            value={outcome}
            onChange={(value) => change({ outcome: value })}
            options={[{ value: "", label: "All" }, { value: "failed", label: "Anything but good" }, ...options(valuesOf(exchanges, "outcome"))]}
          />
          <span className="muted">{rows.length === exchanges.length ? count(rows.length) : `${count(rows.length)} of ${count(exchanges.length)}`}</span>
        </Toolbar>
      </div>
      {problem !== null && <ProblemPanel problem={problem} />}
      <div className={styles.panes} data-chosen={chosen !== undefined}>
        <div className={styles.table}>
          {rows.length > 0 ? (
            <VirtualTable label="Exchanges" columns={COLUMNS} rows={rows} rowKey={(exchange) => exchange.id} selected={id ?? null} />
          ) : !asked && problem === null && live ? (
            <Loading label="Asking for the traffic" />
          ) : exchanges.length > 0 ? (
            <Empty icon={SearchX} title="No exchange is like that" />
          ) : (
            <Empty icon={Activity} title="Nothing yet">
              Call a tool, or wait for a client to do so.
            </Empty>
          )}
        </div>
        {chosen !== undefined && <ExchangeView key={chosen.id} exchange={chosen} onClose={() => change({ id: undefined })} />}
      </div>
      <Questions />
    </Page>
  );
}

function options(values: string[]): { value: string; label: string }[] {
  return values.map((value) => ({ value, label: value }));
}
