import { Link, useParams } from "@tanstack/react-router";
import { Activity, ChevronLeft, Wrench } from "lucide-react";

import { useMe, useServer } from "~/api/queries";
import type { ServerDetail } from "~/api/types";
import { BUTTON_CLASS } from "~/components/Button";
import { Figures } from "~/components/Facts";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { Status, Tag } from "~/components/Status";
import { count, milliseconds, share } from "~/lib/format";
import { ERAS, health, reached } from "~/lib/servers";

import { Conditions } from "./Conditions";
import { HandshakeCard } from "./HandshakeCard";
import { Logs } from "./Logs";
import { Limits, Process, Routes } from "./Settings";
import { ServerSessions } from "./ServerSessions";
import styles from "./ServerPage.module.css";

export function ServerPage(): React.JSX.Element {
  const { namespace, name } = useParams({ from: "/servers/$namespace/$name" });
  const server = useServer(namespace, name);
  return (
    <Page
      title={`${namespace}/${name}`}
      above={
        <Link to="/" className={styles.back}>
          <ChevronLeft size={14} aria-hidden /> Fleet
        </Link>
      }
      actions={<Ways id={`${namespace}/${name}`} />}
      beside={server.data !== undefined && <Badges server={server.data} />}
    >
      <Query query={server} label="Asking for the server">
        {(data) => <Server server={data} />}
      </Query>
    </Page>
  );
}

/** To what else is known of it. */
function Ways({ id }: { id: string }): React.JSX.Element {
  const traffic = useMe().data?.features.traffic === true;
  return (
    <>
      <Link to="/tools" search={{ server: id }} className={BUTTON_CLASS}>
        <Wrench size={14} aria-hidden /> Its tools
      </Link>
      {traffic && (
        <Link to="/traffic" search={{ server: id }} className={BUTTON_CLASS}>
          <Activity size={14} aria-hidden /> Its traffic
        </Link>
      )}
    </>
  );
}

function Badges({ server }: { server: ServerDetail }): React.JSX.Element {
  const { tone, word, why } = health(server);
  const by = reached(server);
  return (
    <>
      <Status tone={tone} title={why ?? undefined}>
        {word}
      </Status>
      {by !== null && <Tag>{by}</Tag>}
      {server.era !== null && <Tag>{ERAS[server.era]}</Tag>}
    </>
  );
}

function Server({ server }: { server: ServerDetail }): React.JSX.Element {
  const operator = useMe().data?.operator === true;
  const { tone, why } = health(server);
  return (
    <>
      {why !== null && (
        <p className={styles.why} data-tone={tone}>
          {why}
        </p>
      )}
      <Figures
        figures={[
          { label: "Latency p50", value: milliseconds(server.latency.p50) },
          { label: "Latency p95", value: milliseconds(server.latency.p95) },
          { label: "Calls", value: count(server.calls) },
          { label: "Errors", value: count(server.errors), ...(server.calls > 0 ? { note: share(server.errors, server.calls) } : {}) },
          { label: "Restarts", value: count(server.restarts) },
          { label: "Tools", value: count(server.tools) },
          { label: "Prompts", value: count(server.prompts) },
          { label: "Resources", value: count(server.resources) },
        ]}
      />
      <div className={styles.columns}>
        <div className={styles.column}>
          <Conditions conditions={server.conditions} />
          <HandshakeCard handshake={server.handshake} />
          <ServerSessions sessions={server.clientSessions} open={server.sessions} />
        </div>
        <div className={styles.column}>
          <Routes routes={server.routes} />
          {server.process !== null && <Process process={server.process} />}
          <Limits limits={server.limits} />
        </div>
      </div>
      {(server.kind === "stdio" || server.process !== null || server.logsHint !== null) && (
        <Logs lines={server.logs} hint={server.logsHint} operator={operator} />
      )}
    </>
  );
}
