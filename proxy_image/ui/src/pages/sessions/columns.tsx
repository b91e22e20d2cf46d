import { ExternalLink } from "lucide-react";

import type { ClientSession, CredentialItem, UserSessionItem } from "~/api/types";
import { Status, Tag, type Tone } from "~/components/Status";
import { Time } from "~/components/Time";
import type { Column } from "~/components/VirtualTable";
import { UNKNOWN } from "~/lib/format";
import { webAddress } from "~/lib/links";
import { ERAS, TRANSPORTS } from "~/lib/servers";

export const CLIENT_COLUMNS: Column<ClientSession>[] = [
  { id: "client", header: "Client", width: "minmax(180px, 1.4fr)", phone: "title", cell: (row) => <strong>{row.client ?? "Unnamed client"}</strong> },
  { id: "id", header: "Session", width: "150px", phone: "hide", cell: (row) => <span className="mono">{row.id}</span> },
  { id: "caller", header: "Caller", width: "minmax(120px, 1fr)", cell: (row) => row.caller ?? <span className="muted">nobody</span> },
  { id: "route", header: "Route", width: "minmax(100px, 1fr)", cell: (row) => <span className="mono">{row.route}</span> },
  { id: "transport", header: "Transport", width: "80px", phone: "hide", cell: (row) => <Tag>{row.transport === "stdio" ? "stdio" : TRANSPORTS[row.transport]}</Tag> },
  { id: "era", header: "Protocol", width: "190px", phone: "hide", cell: (row) => `${ERAS[row.era]}${row.protocolVersion === null ? "" : ` ${row.protocolVersion}`}` },
  { id: "since", header: "Since", width: "110px", phone: "hide", cell: (row) => <Time at={row.since} /> },
  { id: "active", header: "Last active", width: "110px", cell: (row) => <Time at={row.lastActivity} /> },
];

export const USER_COLUMNS: Column<UserSessionItem>[] = [
  { id: "user", header: "User", width: "minmax(180px, 1.4fr)", phone: "title", cell: (row) => <strong>{row.user}</strong> },
  { id: "servers", header: "Servers", width: "minmax(180px, 2fr)", cell: (row) => (row.servers.length === 0 ? "all" : row.servers.join(", ")) },
  { id: "provider", header: "Provider", width: "minmax(100px, 0.8fr)", cell: (row) => row.provider ?? UNKNOWN },
  { id: "created", header: "Began", width: "110px", phone: "hide", cell: (row) => <Time at={row.createdAt} /> },
  { id: "active", header: "Last active", width: "110px", cell: (row) => <Time at={row.lastActivity} /> },
  { id: "expires", header: "Ends", width: "110px", phone: "hide", cell: (row) => <Time at={row.expiresAt} /> },
];

const STATES: Record<CredentialItem["state"], { tone: Tone; word: string }> = {
  valid: { tone: "ok", word: "Valid" },
  expired: { tone: "warn", word: "Expired" },
  signInNeeded: { tone: "info", word: "Sign-in needed" },
  refreshFailed: { tone: "bad", word: "Refresh failed" },
};

export const CREDENTIAL_COLUMNS: Column<CredentialItem>[] = [
  { id: "user", header: "User", width: "minmax(160px, 1.2fr)", phone: "title", cell: (row) => <strong>{row.user}</strong> },
  { id: "state", header: "State", width: "140px", phone: "side", cell: (row) => <Status tone={STATES[row.state].tone}>{STATES[row.state].word}</Status> },
  { id: "issuer", header: "Issuer", width: "minmax(140px, 1fr)", cell: (row) => row.issuer },
  { id: "servers", header: "Shown to", width: "minmax(140px, 1.2fr)", cell: (row) => row.servers.join(", ") || UNKNOWN },
  { id: "expires", header: "Expires", width: "110px", cell: (row) => <Time at={row.expiresAt} /> },
  { id: "refreshed", header: "Refreshed", width: "110px", phone: "hide", cell: (row) => <Time at={row.refreshedAt} /> },
  { id: "problem", header: "Problem", width: "minmax(160px, 1.6fr)", cell: (row) => <Problem row={row} /> },
];

function Problem({ row }: { row: CredentialItem }): React.JSX.Element {
  const address = webAddress(row.signInUrl);
  return (
    <span title={row.problem ?? undefined}>
      {row.problem ?? (address === null ? UNKNOWN : "")}
      {address !== null && (
        <a href={address} target="_blank" rel="noreferrer noopener">
          {" "}
          Sign in <ExternalLink size={12} aria-hidden />
        </a>
      )}
    </span>
  );
}
