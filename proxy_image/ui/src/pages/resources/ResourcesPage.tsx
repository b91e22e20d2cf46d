import type { Resource, ResourceTemplateType } from "@modelcontextprotocol/client";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { FileText, SearchX } from "lucide-react";
import { useMemo } from "react";

import { Empty } from "~/components/Empty";
import { SearchField, Toolbar } from "~/components/Fields";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { Tag } from "~/components/Status";
import { EntryList, type Entry } from "~/explore/EntryList";
import { RouteSelect, useRoutePath } from "~/explore/RouteSelect";
import { Split } from "~/explore/Split";
import { matches } from "~/lib/rows";
import { useResources, type Resources } from "~/mcp/lists";
import { Questions } from "~/mcp/Questions";

import { ReadPanel } from "./ReadPanel";

export function ResourcesPage(): React.JSX.Element {
  const search = useSearch({ from: "/resources" });
  const navigate = useNavigate({ from: "/resources" });
  const route = useRoutePath(search.route);
  const found = useResources(route);
  const { q = "", uri, template } = search;
  return (
    <Page title="Resources" fill lead="What the servers of a route offer to read, and templates for more.">
      <Toolbar>
        <SearchField label="Search resources" value={q} onChange={(value) => void navigate({ search: (before) => ({ ...before, q: value }), replace: true })} />
        <RouteSelect value={route} onChange={(path) => void navigate({ search: { q, route: path } })} />
      </Toolbar>
      <Split
        back="All resources"
        onBack={() => void navigate({ search: (before) => ({ ...before, uri: undefined, template: undefined }) })}
        side={
          <Query query={found} label="Asking for the resources">
            {(data) => (
              <Found
                found={data}
                search={q}
                chosen={uri ?? template ?? null}
                onChoose={(key, kind) =>
                  void navigate({ search: (before) => ({ ...before, route, uri: kind === "uri" ? key : undefined, template: kind === "template" ? key : undefined }) })
                }
              />
            )}
          </Query>
        }
        chosen={
          uri === undefined && template === undefined ? null : (
            <ReadPanel
              key={`${route}\n${uri ?? template}`}
              route={route}
              uri={uri ?? null}
              template={template ?? null}
              known={found.data === undefined ? undefined : knownOf(found.data, uri, template)}
              onOpen={(next) => void navigate({ search: (before) => ({ ...before, route, uri: next, template: undefined }) })}
            />
          )
        }
        empty={
          <Empty icon={FileText} title="Choose a resource">
            What it says is shown here, as text.
          </Empty>
        }
      />
      <Questions />
    </Page>
  );
}

function knownOf({ resources, templates }: Resources, uri: string | undefined, template: string | undefined): Resource | ResourceTemplateType | undefined {
  return uri === undefined ? templates.find((one) => one.uriTemplate === template) : resources.find((one) => one.uri === uri);
}

interface FoundProperties {
  found: Resources;
  search: string;
  chosen: string | null;
  onChoose: (key: string, kind: "uri" | "template") => void;
}

function Found({ found, search, chosen, onChoose }: FoundProperties): React.JSX.Element {
  const entries = useMemo(() => entriesOf(found).filter((entry) => matches(search, entry.name, entry.description, entry.key)), [found, search]);
  if (entries.length === 0) return <Empty icon={SearchX} title={search === "" ? "This route has no resources" : "No resource is like that"} />;
  return (
    <EntryList
      label="Resources"
      entries={entries}
      chosen={chosen}
      onChoose={(key) => onChoose(key, found.templates.some((one) => one.uriTemplate === key) ? "template" : "uri")}
    />
  );
}

function entriesOf({ resources, templates }: Resources): Entry[] {
  return [
    ...templates.map((one) => ({ key: one.uriTemplate, name: one.title ?? one.name, description: one.uriTemplate, tags: <Tag>template</Tag> })),
    ...resources.map((one) => ({
      key: one.uri,
      name: one.title ?? one.name,
      description: one.uri,
      ...(one.mimeType === undefined ? {} : { tags: <Tag>{one.mimeType}</Tag> }),
    })),
  ];
}
