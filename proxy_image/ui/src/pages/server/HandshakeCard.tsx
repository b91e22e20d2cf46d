import type { Handshake, JsonValue } from "~/api/types";
import { Facts } from "~/components/Facts";
import { JsonView } from "~/components/JsonView";
import { Card } from "~/components/Page";
import { Tag } from "~/components/Status";
import { capabilityNames } from "~/lib/capabilities";
import { UNKNOWN } from "~/lib/format";

import styles from "./HandshakeCard.module.css";

export function HandshakeCard({ handshake }: { handshake: Handshake | null }): React.JSX.Element {
  if (handshake === null) {
    return (
      <Card title="Handshake">
        <p className="muted">It has not been connected to yet, or each user has an instance of its own.</p>
      </Card>
    );
  }
  const info = handshake.serverInfo ?? {};
  const facts: [string, React.ReactNode][] = [
    ["Server", text(info.title) ?? text(info.name) ?? UNKNOWN],
    ["Version", text(info.version) ?? UNKNOWN],
    ["Protocol", handshake.protocolVersion ?? UNKNOWN],
    ["Capabilities", <Capabilities key="capabilities" capabilities={handshake.capabilities} />],
  ];
  return (
    <Card title="Handshake">
      <Facts facts={facts} />
      {handshake.instructions !== null && handshake.instructions !== "" && (
        <div className={styles.part}>
          <h3>Instructions</h3>
          <p className={styles.instructions}>{handshake.instructions}</p>
        </div>
      )}
      <details className={styles.part}>
        <summary>As the server said it</summary>
        <JsonView value={{ serverInfo: handshake.serverInfo, capabilities: handshake.capabilities }} label="Handshake as JSON" />
      </details>
    </Card>
  );
}

function text(value: JsonValue | undefined): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function Capabilities({ capabilities }: { capabilities: Record<string, JsonValue> }): React.JSX.Element {
  const names = capabilityNames(capabilities);
  if (names.length === 0) return <span className="muted">none</span>;
  return (
    <span className={styles.tags}>
      {names.map((name) => (
        <Tag key={name}>{name}</Tag>
      ))}
    </span>
  );
}
