import type { ClientSession } from "~/api/types";
import { Card } from "~/components/Page";
import { Tag } from "~/components/Status";
import { Time } from "~/components/Time";
import { count } from "~/lib/format";

import styles from "./Lists.module.css";

export function ServerSessions({ sessions, open }: { sessions: ClientSession[]; open: number }): React.JSX.Element {
  return (
    <Card title="Sessions" beside={<span className="muted">{count(open)} open with the server</span>} flush>
      {sessions.length === 0 ? (
        <p className={styles.none}>No client holds a session of its own with it.</p>
      ) : (
        <ul>
          {sessions.slice(0, 50).map((session) => (
            <li key={session.id} className={styles.item}>
              <span>
                {session.client ?? session.caller ?? "Client"} <span className="mono muted">{session.id}</span>
              </span>
              <Tag>{session.route}</Tag>
              <span className="muted">
                active <Time at={session.lastActivity} />
              </span>
            </li>
          ))}
          {sessions.length > 50 && <li className={styles.none}>and {count(sessions.length - 50)} more: see Sessions</li>}
        </ul>
      )}
    </Card>
  );
}
