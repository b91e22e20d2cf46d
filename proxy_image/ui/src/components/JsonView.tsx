import { Check, Copy } from "lucide-react";
import { useState } from "react";

import type { JsonValue } from "~/api/types";
import { tokens } from "~/lib/json";

import { IconButton } from "./Button";
import styles from "./JsonView.module.css";

/** JSON as coloured text. Whatever it holds is text in text nodes. */
export function JsonView({ value, label, limit = 200_000 }: { value: JsonValue; label: string; limit?: number }): React.JSX.Element {
  const text = JSON.stringify(value, null, 2);
  const cut = text.length > limit;
  return (
    <figure className={styles.figure} aria-label={label}>
      <CopyButton text={text} />
      <pre className={styles.pre} tabIndex={0}>
        {tokens(cut ? text.slice(0, limit) : text).map((token, index) => (
          <span key={index} className={styles[token.kind]}>
            {token.text}
          </span>
        ))}
        {cut && `\n… ${(text.length - limit).toLocaleString("en")} more characters`}
      </pre>
    </figure>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }): React.JSX.Element {
  const [done, setDone] = useState(false);
  const copy = (): void => {
    // an insecure origin has no clipboard
    void (navigator as Partial<Navigator>).clipboard?.writeText(text).then(() => {
      setDone(true);
      setTimeout(() => setDone(false), 1_500);
    });
  };
  return <IconButton icon={done ? Check : Copy} label={done ? "Copied" : label} className={styles.copy} onClick={copy} />;
}

/** Text of a fixed pitch, such as a command, with a button that copies it. */
export function Code({ text, label }: { text: string; label: string }): React.JSX.Element {
  return (
    <figure className={styles.figure} aria-label={label}>
      <CopyButton text={text} />
      <pre className={styles.pre} tabIndex={0}>
        {text}
      </pre>
    </figure>
  );
}
