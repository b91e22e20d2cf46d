import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { credentialFault, setCredential, type Scheme } from "~/api/credential";
import type { ApiProblem } from "~/api/problem";
import { nobodyQuery } from "~/api/queries";
import { Button } from "~/components/Button";

import { Brand } from "./Brand";
import styles from "./SignIn.module.css";

const LABELS: Record<Scheme, string> = { apiKey: "API key", bearer: "Bearer token" };

/** `refused`: what the gateway said of the credential that was tried. */
export function SignIn({ refused }: { refused: ApiProblem | null }): React.JSX.Element {
  const gateway = useQuery(nobodyQuery);
  const schemes = gateway.data?.schemes ?? [];
  const [chosen, setScheme] = useState<Scheme | null>(null);
  const scheme = chosen ?? schemes[0] ?? "bearer";
  const [value, setValue] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const told = fault ?? (refused === null ? null : (refused.detail ?? "The gateway does not know this credential."));
  const submit = (event: React.SyntheticEvent): void => {
    event.preventDefault();
    const found = credentialFault(value.trim());
    setFault(found);
    if (found === null) setCredential({ scheme, value: value.trim() });
  };
  return (
    <main className={styles.page}>
      <form className={styles.card} onSubmit={submit} noValidate>
        <Brand name={gateway.data?.proxy.name ?? null} />
        <div>
          <h1>Sign in</h1>
          <p className={styles.lead}>With what you use for this gateway over MCP. It stays in this tab and is gone when you close it.</p>
        </div>
        {schemes.length > 1 && (
          <fieldset className={styles.schemes}>
            <legend className="visually-hidden">Kind of credential</legend>
            {schemes.map((one) => (
              <label key={one} className={styles.scheme}>
                <input type="radio" name="scheme" value={one} checked={scheme === one} onChange={() => setScheme(one)} />
                {LABELS[one]}
              </label>
            ))}
          </fieldset>
        )}
        <div className={styles.field}>
          <label htmlFor="credential">{LABELS[scheme]}</label>
          <input
            id="credential"
            type="password"
            autoComplete="off"
            spellCheck={false}
            autoFocus
            value={value}
            onChange={(event) => setValue(event.target.value)}
            aria-invalid={told !== null}
            aria-describedby={told === null ? undefined : "credential-fault"}
          />
          {told !== null && (
            <p id="credential-fault" role="alert" className={styles.fault}>
              {told}
            </p>
          )}
        </div>
        <Button type="submit" kind="primary">
          Sign in
        </Button>
      </form>
    </main>
  );
}
