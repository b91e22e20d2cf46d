import { useNavigate, useSearch } from "@tanstack/react-router";
import { SearchX, Wrench } from "lucide-react";
import { useCallback, useMemo } from "react";

import { useFleet, useMe } from "~/api/queries";
import { asProblem } from "~/api/problem";
import type { ToolItem } from "~/api/types";
import { Empty } from "~/components/Empty";
import { SearchField, Select, Toolbar } from "~/components/Fields";
import { Loading } from "~/components/Loading";
import { Page } from "~/components/Page";
import { ProblemPanel } from "~/components/ProblemPanel";
import { Tag } from "~/components/Status";
import { EntryList, type Entry } from "~/explore/EntryList";
import { Split } from "~/explore/Split";
import { count } from "~/lib/format";
import { useSettled } from "~/lib/settled";
import { Questions } from "~/mcp/Questions";

import { useTools } from "./queries";
import { ToolView } from "./ToolView";

/** A tool is one of a route; no path and no name has a line break in it. */
const keyOf = (route: string, name: string): string => `${route}\n${name}`;

export function ToolsPage(): React.JSX.Element {
  const search = useSearch({ from: "/tools" });
  const navigate = useNavigate({ from: "/tools" });
  const routes = useMe().data?.routes ?? [];
  const servers = useFleet().data?.servers ?? [];
  const { q = "", route = "", server = "", tool, at } = search;
  const tools = useTools({ q: useSettled(q), route, server });
  const items = useMemo(() => tools.data?.pages.flatMap((page) => page.items) ?? [], [tools.data]);
  const total = tools.data?.pages[0]?.total ?? 0;
  const entries = useMemo(() => items.map(entryOf), [items]);
  const change = (changes: Partial<typeof search>): void => void navigate({ search: (before) => ({ ...before, ...changes }), replace: true });
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = tools;
  const more = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  const chosen = tool === undefined || at === undefined ? null : { tool, at };

  return (
    <Page title="Tools" fill lead="What this gateway lets you call. Calls go to the route as any client's would.">
      <Toolbar>
        <SearchField label="Search tools" value={q} onChange={(value) => change({ q: value })} />
        {routes.length > 1 && (
          <Select
            label="Route"
            value={route}
            onChange={(value) => change({ route: value })}
            options={[{ value: "", label: "All" }, ...routes.map(({ path }) => ({ value: path, label: path }))]}
          />
        )}
        {servers.length > 1 && (
          <Select
            label="Server"
            value={server}
            onChange={(value) => change({ server: value })}
            options={[{ value: "", label: "All" }, ...servers.map(({ id }) => ({ value: id, label: id }))]}
          />
        )}
        <span className="muted" role="status">
          {tools.isPending ? "" : total === 1 ? "1 tool" : `${count(total)} tools`}
        </span>
      </Toolbar>
      {tools.isError && <ProblemPanel problem={asProblem(tools.error)} retry={() => void tools.refetch()} />}
      <Split
        back="All tools"
        onBack={() => void navigate({ search: (before) => ({ ...before, tool: undefined, at: undefined }) })}
        side={
          tools.isPending ? (
            <Loading label="Asking for the tools" />
          ) : entries.length === 0 ? (
            <Empty icon={SearchX} title="No tool is like that" />
          ) : (
            <EntryList
              label="Tools"
              entries={entries}
              total={total}
              chosen={chosen === null ? null : keyOf(chosen.at, chosen.tool)}
              onEnd={more}
              onChoose={(key) => {
                const [path = "", name = ""] = key.split("\n", 2);
                void navigate({ search: (before) => ({ ...before, tool: name, at: path }) });
              }}
            />
          )
        }
        chosen={chosen === null ? null : <ToolView key={keyOf(chosen.at, chosen.tool)} route={chosen.at} name={chosen.tool} />}
        empty={
          <Empty icon={Wrench} title="Choose a tool">
            Its definition, what holds when you call it, and a form for its arguments are shown here.
          </Empty>
        }
      />
      <Questions />
    </Page>
  );
}

function entryOf(item: ToolItem): Entry {
  return {
    key: keyOf(item.route, item.name),
    name: item.name,
    description: item.description === "" ? item.title : item.description,
    dimmed: !item.available,
    tags: (
      <>
        {!item.available && <Tag>unavailable</Tag>}
        <Tag title={`${item.server}, by ${item.route}`}>{item.server.split("/").at(-1)}</Tag>
      </>
    ),
  };
}
