import type { Resource, ResourceTemplateType } from "@modelcontextprotocol/client";
import { BookOpen } from "lucide-react";

import { Button } from "~/components/Button";
import { Card } from "~/components/Page";
import { Tag } from "~/components/Status";
import { Blocks } from "~/content/Blocks";
import { contentsOf } from "~/content/blocks";
import { bytes, visible } from "~/content/text";
import styles from "~/explore/explore.module.css";
import { OutcomeCard } from "~/explore/OutcomeCard";
import { useRequest } from "~/explore/useRequest";
import { SchemaForm } from "~/forms/SchemaForm";
import { useCompletion } from "~/mcp/completion";
import { expanded, templateSchema } from "~/mcp/templates";

interface Properties {
  route: string;
  uri: string | null;
  template: string | null;
  /** As it is listed; a link of a result may lead to one that is not. */
  known: Resource | ResourceTemplateType | undefined;
  onOpen: (uri: string) => void;
}

export function ReadPanel({ route, uri, template, known, onOpen }: Properties): React.JSX.Element {
  const { outcome, start, cancel } = useRequest();
  const read = (what: string): void => start({ route, asked: { method: "resources/read", params: { uri: what } } });
  return (
    <>
      <header className={styles.head}>
        <h2>
          <bdi>{visible(uri ?? template ?? "")}</bdi>
        </h2>
        {known !== undefined && <Known known={known} />}
      </header>
      <Card title="Read">
        {uri !== null ? (
          <Button kind="primary" icon={BookOpen} disabled={outcome.state === "running"} onClick={() => read(uri)}>
            Read
          </Button>
        ) : (
          <TemplateForm route={route} template={template ?? ""} busy={outcome.state === "running"} onRead={read} />
        )}
      </Card>
      <OutcomeCard title="Contents" outcome={outcome} onCancel={cancel} verdict={() => ({ tone: "ok", text: "Read" })}>
        {(result) => <Blocks blocks={contentsOf(result.contents)} label="Contents" onOpen={onOpen} />}
      </OutcomeCard>
    </>
  );
}

function Known({ known }: { known: Resource | ResourceTemplateType }): React.JSX.Element {
  const size = "size" in known && typeof known.size === "number" ? known.size : undefined;
  return (
    <>
      <p className={styles.title}>
        <bdi>{visible(known.title ?? known.name)}</bdi>
      </p>
      <div className={styles.facts}>
        {known.mimeType !== undefined && <Tag>{known.mimeType}</Tag>}
        {size !== undefined && <Tag>{bytes(size)}</Tag>}
      </div>
      {known.description !== undefined && (
        <p className={styles.description} dir="auto">
          {visible(known.description)}
        </p>
      )}
    </>
  );
}

function TemplateForm({ route, template, busy, onRead }: { route: string; template: string; busy: boolean; onRead: (uri: string) => void }): React.JSX.Element {
  const completion = useCompletion(route, { type: "ref/resource", uri: template });
  let schema;
  try {
    schema = templateSchema(template);
  } catch (error) {
    return <p className="muted">This is no URI template: {error instanceof Error ? error.message : String(error)}</p>;
  }
  return (
    <SchemaForm schema={schema} completion={completion} onSubmit={(values) => onRead(expanded(template, values))}>
      <div className={styles.actions}>
        <Button type="submit" kind="primary" icon={BookOpen} disabled={busy}>
          Read
        </Button>
      </div>
    </SchemaForm>
  );
}
