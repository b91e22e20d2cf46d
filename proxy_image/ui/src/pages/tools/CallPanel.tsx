import { Play } from "lucide-react";
import { useState } from "react";

import type { ToolDetail } from "~/api/types";
import { Button } from "~/components/Button";
import { Select } from "~/components/Fields";
import { JsonView } from "~/components/JsonView";
import { Card } from "~/components/Page";
import { Status } from "~/components/Status";
import { Blocks } from "~/content/Blocks";
import { blocksOf } from "~/content/blocks";
import styles from "~/explore/explore.module.css";
import { OutcomeCard } from "~/explore/OutcomeCard";
import { useRequest } from "~/explore/useRequest";
import type { JsonObject, JsonSchema } from "~/forms/json";
import { SchemaForm } from "~/forms/SchemaForm";
import { check, pathText } from "~/forms/validator";
import type { Era } from "~/mcp/connections";

import { inputSchemaOf, outputSchemaOf } from "./definition";

export const ERAS: { value: Era; label: string }[] = [
  { value: "auto", label: "Newest" },
  { value: "session", label: "With a session (to 2025-11-25)" },
  { value: "stateless", label: "2026-07-28" },
];

export function CallPanel({ detail, onOpen }: { detail: ToolDetail; onOpen: (uri: string) => void }): React.JSX.Element {
  const { outcome, start, cancel } = useRequest();
  const [era, setEra] = useState<Era>("auto");
  const inputSchema = inputSchemaOf(detail.definition);
  const outputSchema = outputSchemaOf(detail.definition);
  const call = (values: JsonObject): void =>
    start({ route: detail.route, asked: { method: "tools/call", params: { name: detail.name, arguments: values } }, era, inputSchema });
  return (
    <>
      <Card title="Call">
        <SchemaForm schema={inputSchema} onSubmit={call}>
          <div className={styles.actions}>
            <Button type="submit" kind="primary" icon={Play} disabled={outcome.state === "running"}>
              Call
            </Button>
            <Select label="Protocol" value={era} onChange={(value) => setEra(ERAS.find((one) => one.value === value)?.value ?? "auto")} options={ERAS} />
          </div>
        </SchemaForm>
      </Card>
      <OutcomeCard
        title="Result"
        outcome={outcome}
        onCancel={cancel}
        verdict={(result) => (result.isError === true ? { tone: "bad", text: "Error of the tool" } : { tone: "ok", text: "Called" })}
      >
        {(result) => <ToolResult result={result} schema={outputSchema} onOpen={onOpen} />}
      </OutcomeCard>
    </>
  );
}

/** A tool's result (CallToolResult): structured content first, as it is what programs read. */
export function ToolResult({ result, schema, onOpen }: { result: JsonObject; schema: JsonSchema | null; onOpen?: (uri: string) => void }): React.JSX.Element {
  const structured = result.structuredContent;
  const blocks = blocksOf(result.content);
  return (
    <>
      {structured !== undefined && (
        <div className={styles.stack}>
          <h3 className={styles.subhead}>Structured content</h3>
          {schema !== null && <OutputCheck schema={schema} value={structured} />}
          <JsonView value={structured} label="Structured content" />
        </div>
      )}
      {structured === undefined && schema !== null && result.isError !== true && (
        <Status tone="warn">It has an output schema, but sent no structured content</Status>
      )}
      {blocks.length > 0 && (
        <div className={styles.stack}>
          <h3 className={styles.subhead}>Content</h3>
          <Blocks blocks={blocks} label="Content" {...(onOpen === undefined ? {} : { onOpen })} />
        </div>
      )}
      {blocks.length === 0 && structured === undefined && <p className="muted">It has no content.</p>}
    </>
  );
}

function OutputCheck({ schema, value }: { schema: JsonSchema; value: unknown }): React.JSX.Element {
  const { problems, unusable } = check(schema, value);
  if (unusable !== undefined) return <Status tone="warn">Its output schema cannot be used: {unusable}</Status>;
  if (problems.length === 0) return <Status tone="ok">As its output schema says</Status>;
  return (
    <div>
      <Status tone="warn">Not as its output schema says</Status>
      <ul>
        {problems.map(({ path, message }) => (
          <li key={`${pathText(path)} ${message}`}>
            {pathText(path)} {message}
          </li>
        ))}
      </ul>
    </div>
  );
}
