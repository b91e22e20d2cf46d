import { useNavigate, useSearch } from "@tanstack/react-router";
import { SearchX, Server } from "lucide-react";
import { useMemo } from "react";

import { useFleet } from "~/api/queries";
import type { FleetServer } from "~/api/types";
import { Empty } from "~/components/Empty";
import { Figures } from "~/components/Facts";
import { Choices, SearchField, Toolbar } from "~/components/Fields";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { VirtualTable } from "~/components/VirtualTable";
import { count, share } from "~/lib/format";
import { matches, parseSort, sorted } from "~/lib/rows";
import { health, rank, shownUnder, totals, type Shown } from "~/lib/servers";

import { COLUMNS } from "./columns";

const CHOICES: { value: Shown; label: string }[] = [
  { value: "all", label: "All" },
  { value: "healthy", label: "Healthy" },
  { value: "trouble", label: "In trouble" },
  { value: "pending", label: "Pending" },
  { value: "stopped", label: "Stopped" },
];

export function FleetPage(): React.JSX.Element {
  const fleet = useFleet();
  return (
    <Page title="Fleet" fill lead="Every MCP server behind this gateway that you may see.">
      <Query query={fleet} label="Asking for the servers">
        {(data) => <Servers servers={data.servers} />}
      </Query>
    </Page>
  );
}

function Servers({ servers }: { servers: FleetServer[] }): React.JSX.Element {
  const search = useSearch({ from: "/" });
  const navigate = useNavigate({ from: "/" });
  const show = CHOICES.find((choice) => choice.value === search.show)?.value ?? "all";
  const query = search.q ?? "";
  const sort = parseSort(search.sort, COLUMNS);
  const found = totals(servers);
  const rows = useMemo(() => {
    const wanted = servers.filter((server) => (show === "all" || shownUnder(health(server).word) === show) && matches(query, server.id, server.error?.errorClass, server.error?.message, server.kind, server.era));
    const column = COLUMNS.find((one) => one.id === sort?.by);
    return sort === null ? sorted(wanted, rank, "up") : sorted(wanted, column?.value, sort.direction);
  }, [servers, show, query, sort]);
  const change = (changes: Partial<typeof search>): void => void navigate({ search: (before) => ({ ...before, ...changes }), replace: true });

  if (servers.length === 0) {
    return (
      <Empty icon={Server} title="No servers">
        Apply an McpServer and route it here; it appears as soon as the gateway has the new configuration.
      </Empty>
    );
  }
  return (
    <>
      <Figures
        figures={[
          { label: "Servers", value: count(found.shown.all), note: `${count(found.shown.healthy)} healthy` },
          { label: "Tools", value: count(found.tools), ...(found.unapproved > 0 ? { note: `${count(found.unapproved)} unapproved` } : {}) },
          { label: "Calls", value: count(found.calls) },
          { label: "Errors", value: count(found.errors), ...(found.calls > 0 ? { note: share(found.errors, found.calls) } : {}) },
          { label: "Restarts", value: count(found.restarts) },
          { label: "Sessions", value: count(found.sessions) },
        ]}
      />
      <Toolbar>
        <SearchField label="Search servers" value={query} onChange={(q) => change({ q })} />
        <Choices label="Show" choices={CHOICES.map((choice) => ({ ...choice, count: found.shown[choice.value] }))} value={show} onChange={(value) => change({ show: value === "all" ? "" : value })} />
        <span className="muted" role="status">
          {rows.length === servers.length ? (rows.length === 1 ? "1 server" : `${count(rows.length)} servers`) : `${count(rows.length)} of ${count(servers.length)} servers`}
        </span>
      </Toolbar>
      {rows.length === 0 ? (
        <Empty icon={SearchX} title="No server is like that">
          Change the search or what is shown.
        </Empty>
      ) : (
        <VirtualTable label="Servers" columns={COLUMNS} rows={rows} rowKey={(server) => server.id} sort={sort} onSort={(to) => change({ sort: `${to.by}:${to.direction}` })} />
      )}
    </>
  );
}
