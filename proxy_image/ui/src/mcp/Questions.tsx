import { Button } from "~/components/Button";
import { Dialog } from "~/components/Dialog";
import { Code } from "~/components/JsonView";
import { visible } from "~/content/text";
import { type JsonObject, isSchema } from "~/forms/json";
import { SchemaForm } from "~/forms/SchemaForm";

import styles from "./Questions.module.css";
import { type Question, useQuestion } from "./questions";

/** What servers ask in the middle of a request, one after another. Closing it cancels the question, and not the request. */
export function Questions(): React.JSX.Element {
  const question = useQuestion();
  return (
    <Dialog open={question !== undefined} onClose={() => question?.answer({ action: "cancel" })} label="The server asks">
      {question !== undefined && <Asked key={question.id} question={question} />}
    </Dialog>
  );
}

function Asked({ question }: { question: Question }): React.JSX.Element {
  const { params, answer, route } = question;
  return (
    <div className={styles.question}>
      <p className={styles.message} dir="auto">
        {visible(params.message)}
      </p>
      {params.mode === "url" ? (
        <Visit url={params.url} answer={answer} />
      ) : (
        <SchemaForm
          schema={isSchema(params.requestedSchema) ? params.requestedSchema : {}}
          onSubmit={(values: JsonObject) => answer({ action: "accept", content: values as never })}
        >
          <Answers answer={answer}>
            <Button type="submit" kind="primary">
              Answer
            </Button>
          </Answers>
        </SchemaForm>
      )}
      <p className="muted">By a request to {route}. Give no secret that you would not give to the server itself.</p>
    </div>
  );
}

/** A page to visit: nothing is opened by itself, and only what is on the web. */
function Visit({ url, answer }: { url: string; answer: Question["answer"] }): React.JSX.Element {
  const web = /^https?:\/\//i.test(url);
  return (
    <>
      <Code text={visible(url)} label="The page that it wants you to visit" />
      <Answers answer={answer}>
        {web && (
          <a href={url} target="_blank" rel="noopener noreferrer" onClick={() => answer({ action: "accept" })}>
            Open it in a new tab
          </a>
        )}
      </Answers>
    </>
  );
}

function Answers({ answer, children }: { answer: Question["answer"]; children: React.ReactNode }): React.JSX.Element {
  return (
    <div className={styles.answers}>
      {children}
      <Button onClick={() => answer({ action: "decline" })}>Decline</Button>
      <Button onClick={() => answer({ action: "cancel" })}>Cancel</Button>
    </div>
  );
}
