import { Repeat } from "lucide-react";
import { useId, useState } from "react";

import type { ExchangeItem, JsonValue } from "~/api/types";
import { Button } from "~/components/Button";
import { JsonView } from "~/components/JsonView";
import { Card } from "~/components/Page";
import explore from "~/explore/explore.module.css";
import { Announced } from "~/explore/Announced";
import { Arriving } from "~/explore/Arriving";
import { OutcomeView } from "~/explore/OutcomeView";
import { useRequest } from "~/explore/useRequest";
import { parseArguments } from "~/forms/arguments";
import { isObject, type JsonObject } from "~/forms/json";
import { pathText } from "~/forms/validator";

import { Differences } from "./Differences";
import { replayOf } from "./exchanges";
import { comparable, differences } from "./legs";
import styles from "./traffic.module.css";

/** Sends the same request to the same route again, as this page's caller; its parameters can be changed before. */
export function Replay({ exchange }: { exchange: ExchangeItem }): React.JSX.Element {
  const id = useId();
  const { outcome, start, cancel } = useRequest();
  const [given] = useState(() => replayOf(exchange));
  const [text, setText] = useState(() => JSON.stringify(given ?? {}, null, 2));
  const [problem, setProblem] = useState<string | null>(null);
  if (given === null) {
    return (
      <Card title="Send it again">
        <p className="muted">
          {exchange.client.truncated ? "It was cut, so it cannot be sent again." : `${exchange.method} is not sent again: it belongs to its connection.`}
        </p>
      </Card>
    );
  }
  const submit = (event: React.SyntheticEvent): void => {
    event.preventDefault();
    const parsed = parseArguments(text);
    setProblem("problem" in parsed ? parsed.problem : null);
    if ("arguments" in parsed) start({ route: exchange.route, asked: { method: exchange.method, params: parsed.arguments } });
  };
  return (
    <Card title="Send it again">
      <form className={explore.stack} onSubmit={submit} noValidate>
        <label htmlFor={id}>Parameters</label>
        <textarea
          id={id}
          className={styles.parameters}
          rows={Math.min(16, Math.max(4, text.split("\n").length))}
          value={text}
          spellCheck={false}
          aria-invalid={problem !== null}
          aria-describedby={problem === null ? undefined : `${id}-problem`}
          onChange={(event) => setText(event.target.value)}
        />
        {problem !== null && (
          <p id={`${id}-problem`} role="alert" className={styles.problem}>
            {problem}
          </p>
        )}
        <div className={explore.actions}>
          <Button type="submit" kind="primary" icon={Repeat} disabled={outcome.state === "running"}>
            Send again
          </Button>
        </div>
      </form>
      <Announced outcome={outcome} />
      {outcome.state !== "idle" && (
        <Arriving of={outcome.state}>
          <div className={styles.again}>
            <OutcomeView outcome={outcome} onCancel={cancel}>
              {(result) => <Compared result={result} before={exchange.client.response} />}
            </OutcomeView>
          </div>
        </Arriving>
      )}
    </Card>
  );
}

function Compared({ result, before }: { result: JsonObject; before: JsonValue }): React.JSX.Element {
  const earlier = isObject(before) ? before.result : undefined;
  const found = earlier === undefined ? null : differences(comparable(earlier), comparable(result));
  return (
    <>
      {found === null ? (
        <p className="muted">The first time brought no result to compare with.</p>
      ) : found.length === 0 ? (
        <p>The same answer as the first time.</p>
      ) : (
        <Differences
          label="Differences from the first time"
          before="First time"
          after="This time"
          rows={found.map(({ path, before: first, after }) => ({ path: pathText(path), before: first as JsonValue, after: after as JsonValue }))}
        />
      )}
      <JsonView value={result} label="Result of this time" />
    </>
  );
}
