import type { Prompt } from "@modelcontextprotocol/client";
import { useNavigate } from "@tanstack/react-router";
import { MessageSquareText } from "lucide-react";

import { Button } from "~/components/Button";
import { Card } from "~/components/Page";
import { Blocks } from "~/content/Blocks";
import { blocksOf } from "~/content/blocks";
import { visible } from "~/content/text";
import styles from "~/explore/explore.module.css";
import { OutcomeCard } from "~/explore/OutcomeCard";
import { useRequest } from "~/explore/useRequest";
import { isObject, type JsonObject } from "~/forms/json";
import { SchemaForm } from "~/forms/SchemaForm";
import { useCompletion } from "~/mcp/completion";
import { promptSchema } from "~/mcp/templates";

export function PromptPanel({ route, prompt }: { route: string; prompt: Prompt }): React.JSX.Element {
  const { outcome, start, cancel } = useRequest();
  const navigate = useNavigate();
  const completion = useCompletion(route, { type: "ref/prompt", name: prompt.name });
  return (
    <>
      <header className={styles.head}>
        <h2>
          <bdi>{visible(prompt.name)}</bdi>
        </h2>
        {prompt.title !== undefined && (
          <p className={styles.title}>
            <bdi>{visible(prompt.title)}</bdi>
          </p>
        )}
        {prompt.description !== undefined && (
          <p className={styles.description} dir="auto">
            {visible(prompt.description)}
          </p>
        )}
      </header>
      <Card title="Arguments">
        <SchemaForm
          schema={promptSchema(prompt.arguments ?? [])}
          completion={completion}
          onSubmit={(values) => start({ route, asked: { method: "prompts/get", params: { name: prompt.name, arguments: values } } })}
        >
          <div className={styles.actions}>
            <Button type="submit" kind="primary" icon={MessageSquareText} disabled={outcome.state === "running"}>
              Get
            </Button>
          </div>
        </SchemaForm>
      </Card>
      <OutcomeCard title="Messages" outcome={outcome} onCancel={cancel}>
        {(result) => <Messages result={result} onOpen={(uri) => void navigate({ to: "/resources", search: { route, uri } })} />}
      </OutcomeCard>
    </>
  );
}

/** `messages` of a GetPromptResult. */
export function Messages({ result, onOpen }: { result: JsonObject; onOpen?: (uri: string) => void }): React.JSX.Element {
  const messages = Array.isArray(result.messages) ? result.messages : [];
  if (messages.length === 0) return <p className="muted">It gave no messages.</p>;
  return (
    <ol className={styles.stack} aria-label="Messages">
      {messages.map((message, index) => (
        <li key={index} className={styles.stack}>
          <h3 className={styles.subhead}>{isObject(message) && typeof message.role === "string" ? visible(message.role) : "message"}</h3>
          <Blocks blocks={blocksOf(isObject(message) ? message.content : message)} label="Content" {...(onOpen === undefined ? {} : { onOpen })} />
        </li>
      ))}
    </ol>
  );
}
