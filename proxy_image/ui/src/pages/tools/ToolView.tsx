import { Link, useNavigate } from "@tanstack/react-router";

import type { ToolDetail } from "~/api/types";
import { Card } from "~/components/Page";
import { JsonView } from "~/components/JsonView";
import { Query } from "~/components/Query";
import { Tag } from "~/components/Status";
import { visible } from "~/content/text";
import styles from "~/explore/explore.module.css";
import { splitId } from "~/lib/format";

import { CallPanel } from "./CallPanel";
import { hintsOf, titleOf } from "./definition";
import { Policy } from "./Policy";
import { useTool } from "./queries";

export function ToolView({ route, name }: { route: string; name: string }): React.JSX.Element {
  const tool = useTool(route, name);
  return (
    <Query query={tool} label="Asking for the tool">
      {(detail) => <Tool detail={detail} />}
    </Query>
  );
}

function Tool({ detail }: { detail: ToolDetail }): React.JSX.Element {
  const navigate = useNavigate();
  const { definition, own } = detail;
  const title = titleOf(definition);
  const description = definition.description;
  return (
    <>
      <header className={styles.head}>
        <h2>
          <bdi>{visible(detail.name)}</bdi>
        </h2>
        {title !== null && (
          <p className={styles.title}>
            <bdi>{visible(title)}</bdi>
          </p>
        )}
        <div className={styles.facts}>
          <Link to="/servers/$namespace/$name" params={splitId(detail.server)}>
            {detail.server}
          </Link>
          <Tag>{detail.route}</Tag>
          {hintsOf(definition).map((hint) => (
            <Tag key={hint} title="What the server says of it">
              {hint}
            </Tag>
          ))}
          {own !== null && own.name !== detail.name && (
            <Tag title="The server's own name">
              there: <bdi>{visible(own.name)}</bdi>
            </Tag>
          )}
        </div>
        {typeof description === "string" && (
          <p className={styles.description} dir="auto">
            {visible(description)}
          </p>
        )}
      </header>
      <Policy policy={detail.policy} />
      <CallPanel detail={detail} onOpen={(uri) => void navigate({ to: "/resources", search: { route: detail.route, uri } })} />
      <Card title="Definition">
        <div className={styles.stack}>
          <details className={styles.more}>
            <summary>As clients see it</summary>
            <JsonView value={definition} label="Definition as clients see it" />
          </details>
          {own !== null && (
            <details className={styles.more}>
              <summary>As the server has it</summary>
              <JsonView value={own.definition} label="Definition as the server has it" />
            </details>
          )}
        </div>
      </Card>
    </>
  );
}
