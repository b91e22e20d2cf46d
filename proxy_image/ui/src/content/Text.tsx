import { useState } from "react";

import { Button } from "~/components/Button";
import { CopyButton } from "~/components/JsonView";

import styles from "./content.module.css";
import { beginning, bytes, SHOWN_CHARACTERS, visible } from "./text";

/** What a server wrote, as it is: no markup, its hidden characters visible, its beginning when it is long. */
export function Text({ text, label }: { text: string; label: string }): React.JSX.Element {
  const [whole, setWhole] = useState(false);
  const long = text.length > SHOWN_CHARACTERS;
  return (
    <figure className={styles.text} aria-label={label}>
      <div className={styles.copy}>
        <CopyButton text={text} />
      </div>
      <pre dir="auto" tabIndex={0}>
        {visible(whole ? text : beginning(text))}
      </pre>
      {long && (
        <Button aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? "Show its beginning" : `Show all of ${bytes(new Blob([text]).size)}`}
        </Button>
      )}
    </figure>
  );
}

/** A short text of a server in a line: a name, a description. */
export function Inline({ text }: { text: string }): React.JSX.Element {
  return <bdi>{visible(text)}</bdi>;
}
