import { useNavigate, useSearch } from "@tanstack/react-router";
import { KeyRound, SearchX, UserRound, Unplug } from "lucide-react";

import { useMe, useSessions } from "~/api/queries";
import type { Sessions } from "~/api/types";
import { Empty } from "~/components/Empty";
import { Choices, SearchField, Toolbar } from "~/components/Fields";
import { Page } from "~/components/Page";
import { Query } from "~/components/Query";
import { VirtualTable } from "~/components/VirtualTable";
import { matches } from "~/lib/rows";

import { CLIENT_COLUMNS, CREDENTIAL_COLUMNS, USER_COLUMNS } from "./columns";

type Kind = "client" | "users" | "credentials";

export function SessionsPage(): React.JSX.Element {
  const sessions = useSessions();
  const operator = useMe().data?.operator === true;
  return (
    <Page title="Sessions" fill lead={operator ? "Clients that are connected, sessions of users, and the state of their credentials. Tokens are never shown." : "Your own sessions and credentials. Tokens are never shown."}>
      <Query query={sessions} label="Asking for the sessions">
        {(data) => <Lists sessions={data} />}
      </Query>
    </Page>
  );
}

function Lists({ sessions }: { sessions: Sessions }): React.JSX.Element {
  const search = useSearch({ from: "/sessions" });
  const navigate = useNavigate({ from: "/sessions" });
  const kind: Kind = search.of === "users" || search.of === "credentials" ? search.of : "client";
  const query = search.q ?? "";
  const change = (changes: Partial<typeof search>): void => void navigate({ search: (before) => ({ ...before, ...changes }), replace: true });
  return (
    <>
      <Toolbar>
        <Choices<Kind>
          label="Of what"
          value={kind}
          onChange={(of) => change({ of: of === "client" ? "" : of })}
          choices={[
            { value: "client", label: "MCP clients", count: sessions.client.length },
            { value: "users", label: "Users", count: sessions.users.length },
            { value: "credentials", label: "Credentials", count: sessions.credentials.length },
          ]}
        />
        <SearchField label="Search sessions" value={query} onChange={(q) => change({ q })} />
      </Toolbar>
      {kind === "client" && <Clients sessions={sessions} query={query} />}
      {kind === "users" && <Users sessions={sessions} query={query} />}
      {kind === "credentials" && <Credentials sessions={sessions} query={query} />}
    </>
  );
}

function Clients({ sessions, query }: { sessions: Sessions; query: string }): React.JSX.Element {
  const rows = sessions.client.filter((row) => matches(query, row.id, row.caller, row.client, row.route, row.transport));
  if (sessions.client.length === 0) return <Empty icon={Unplug} title="No client is connected">Clients of the stateless era (2026-07-28) have no session: their calls are in the live traffic.</Empty>;
  if (rows.length === 0) return <Nothing />;
  return <VirtualTable label="Sessions of clients" columns={CLIENT_COLUMNS} rows={rows} rowKey={(row) => row.id} />;
}

function Users({ sessions, query }: { sessions: Sessions; query: string }): React.JSX.Element {
  const rows = sessions.users.filter((row) => matches(query, row.user, row.provider, ...row.servers));
  if (sessions.users.length === 0) return <Empty icon={UserRound} title="No user has a session">Applications begin them over REST, or users by their first call.</Empty>;
  if (rows.length === 0) return <Nothing />;
  return <VirtualTable label="Sessions of users" columns={USER_COLUMNS} rows={rows} rowKey={(row) => row.user} />;
}

function Credentials({ sessions, query }: { sessions: Sessions; query: string }): React.JSX.Element {
  const rows = sessions.credentials.filter((row) => matches(query, row.user, row.issuer, row.state, row.problem, ...row.servers));
  if (sessions.credentials.length === 0) return <Empty icon={KeyRound} title="No credentials of users">Servers that ask each user to sign in show their credentials here.</Empty>;
  if (rows.length === 0) return <Nothing />;
  return <VirtualTable label="Credentials of users" columns={CREDENTIAL_COLUMNS} rows={rows} rowKey={(row) => `${row.user} ${row.issuer}`} />;
}

function Nothing(): React.JSX.Element {
  return (
    <Empty icon={SearchX} title="Nothing is like that">
      Change the search.
    </Empty>
  );
}
