import { FileCheck2, SearchX } from "lucide-react";
import { useState } from "react";

import { useDefinitions } from "~/api/queries";
import type { DefinitionItem } from "~/api/types";
import { Diff } from "~/components/Diff";
import { Empty } from "~/components/Empty";
import { SearchField, Toolbar } from "~/components/Fields";
import { Code, JsonView } from "~/components/JsonView";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { ServerLink } from "~/components/ServerLink";
import { Status, type Tone } from "~/components/Status";
import { parsed } from "~/lib/json";
import { matches } from "~/lib/rows";

import styles from "./DefinitionsPage.module.css";

const KINDS: Record<DefinitionItem["kind"], { tone: Tone; word: string }> = {
  changed: { tone: "warn", word: "Changed" },
  new: { tone: "info", word: "New" },
  gone: { tone: "idle", word: "Gone" },
};
const AT_ONCE = 50;

export function DefinitionsPage(): React.JSX.Element {
  const definitions = useDefinitions();
  return (
    <Page title="Definitions" lead="Tools whose definitions are not those that were approved. Read what differs before you approve it: a description is an instruction to a model.">
      <Query query={definitions} label="Asking for the definitions">
        {(data) => <List items={data.items} />}
      </Query>
    </Page>
  );
}

function List({ items }: { items: DefinitionItem[] }): React.JSX.Element {
  const [query, setQuery] = useState("");
  const [shown, setShown] = useState(AT_ONCE);
  if (items.length === 0) {
    return (
      <Empty icon={FileCheck2} title="Nothing waits for approval">
        Every definition of servers that are pinned is as it was approved.
      </Empty>
    );
  }
  const rows = items.filter((item) => matches(query, item.server, item.tool, item.kind, item.diff));
  return (
    <>
      <Toolbar>
        <SearchField label="Search definitions" value={query} onChange={setQuery} />
        <span className="muted" role="status">
          {rows.length} of {items.length}
        </span>
      </Toolbar>
      {rows.length === 0 && (
        <Empty icon={SearchX} title="Nothing is like that">
          Change the search.
        </Empty>
      )}
      {rows.slice(0, shown).map((item) => (
        <Item key={`${item.server} ${item.tool}`} item={item} />
      ))}
      {rows.length > shown && (
        <button type="button" className={styles.more} onClick={() => setShown(shown + AT_ONCE)}>
          Show {Math.min(AT_ONCE, rows.length - shown)} more
        </button>
      )}
    </>
  );
}

function Item({ item }: { item: DefinitionItem }): React.JSX.Element {
  const { tone, word } = KINDS[item.kind];
  return (
    <article className={styles.item} aria-label={`${item.server} ${item.tool}`}>
      <header className={styles.head}>
        <h2 className={styles.name}>{item.tool}</h2>
        <Status tone={tone}>{word}</Status>
        <ServerLink id={item.server} />
        {item.digest !== "" && (
          <span className={`mono muted ${styles.digest}`} title={item.digest}>
            {item.digest.slice(0, 23)}
          </span>
        )}
      </header>
      <div className={styles.body}>
        {item.diff !== "" && <Diff text={item.diff} label={`What differs in ${item.tool}`} />}
        {item.diff === "" && item.kind === "changed" && <p className="muted">What was approved is not known here, so there is nothing to compare with.</p>}
        {item.kind === "gone" && <p className="muted">The server no longer lists it.</p>}
        {item.definition !== "" && (
          <details open={item.kind === "new"}>
            <summary>The definition as it is now</summary>
            <JsonView value={parsed(item.definition)} label={`Definition of ${item.tool}`} />
          </details>
        )}
        {item.how !== "" && item.digest === "" && <p className="muted">{item.how}</p>}
        {item.how !== "" && item.digest !== "" && (
          <div className={styles.how}>
            <h3>To approve it</h3>
            <How text={item.how} tool={item.tool} />
          </div>
        )}
      </div>
    </article>
  );
}

/** The command can be copied as it is; what follows it is another way. */
function How({ text, tool }: { text: string; tool: string }): React.JSX.Element {
  const [command = "", ...others] = text.split("\n");
  return (
    <>
      <Code text={command} label={`How to approve ${tool}`} />
      {others.map((other) => (
        <p key={other} className="muted">
          {other.replace(/^in Git: /, "Or in Git: ")}
        </p>
      ))}
    </>
  );
}
