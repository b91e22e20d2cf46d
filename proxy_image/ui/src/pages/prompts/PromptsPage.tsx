import type { Prompt } from "@modelcontextprotocol/client";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { MessageSquareText, SearchX } from "lucide-react";
import { useMemo } from "react";

import { Empty } from "~/components/Empty";
import { SearchField, Toolbar } from "~/components/Fields";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { Tag } from "~/components/Status";
import { EntryList } from "~/explore/EntryList";
import { RouteSelect, useRoutePath } from "~/explore/RouteSelect";
import { Split } from "~/explore/Split";
import { matches } from "~/lib/rows";
import { usePrompts } from "~/mcp/lists";
import { Questions } from "~/mcp/Questions";

import { PromptPanel } from "./PromptPanel";

export function PromptsPage(): React.JSX.Element {
  const search = useSearch({ from: "/prompts" });
  const navigate = useNavigate({ from: "/prompts" });
  const route = useRoutePath(search.route);
  const found = usePrompts(route);
  const { q = "" } = search;
  const chosen = found.data?.find(({ name }) => name === search.prompt);
  return (
    <Page title="Prompts" fill lead="Messages that servers prepare for a model, with your arguments.">
      <Toolbar>
        <SearchField label="Search prompts" value={q} onChange={(value) => void navigate({ search: (before) => ({ ...before, q: value }), replace: true })} />
        <RouteSelect value={route} onChange={(path) => void navigate({ search: { q, route: path } })} />
      </Toolbar>
      <Split
        back="All prompts"
        onBack={() => void navigate({ search: (before) => ({ ...before, prompt: undefined }) })}
        side={
          <Query query={found} label="Asking for the prompts">
            {(prompts) => (
              <Found
                prompts={prompts}
                search={q}
                chosen={search.prompt ?? null}
                onChoose={(prompt) => void navigate({ search: (before) => ({ ...before, route, prompt }) })}
              />
            )}
          </Query>
        }
        chosen={chosen === undefined ? null : <PromptPanel key={`${route}\n${chosen.name}`} route={route} prompt={chosen} />}
        empty={
          <Empty icon={MessageSquareText} title="Choose a prompt">
            A form for its arguments and the messages that it gives are shown here.
          </Empty>
        }
      />
      <Questions />
    </Page>
  );
}

interface FoundProperties {
  prompts: Prompt[];
  search: string;
  chosen: string | null;
  onChoose: (name: string) => void;
}

function Found({ prompts, search, chosen, onChoose }: FoundProperties): React.JSX.Element {
  const entries = useMemo(
    () =>
      prompts
        .filter((prompt) => matches(search, prompt.name, prompt.title, prompt.description))
        .map((prompt) => ({
          key: prompt.name,
          name: prompt.name,
          description: prompt.description ?? prompt.title ?? "",
          ...(prompt.arguments === undefined || prompt.arguments.length === 0
            ? {}
            : { tags: <Tag>{prompt.arguments.length === 1 ? "1 argument" : `${prompt.arguments.length} arguments`}</Tag> }),
        })),
    [prompts, search],
  );
  if (entries.length === 0) return <Empty icon={SearchX} title={search === "" ? "This route has no prompts" : "No prompt is like that"} />;
  return <EntryList label="Prompts" entries={entries} chosen={chosen} onChoose={onChoose} />;
}
