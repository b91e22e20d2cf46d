/** The caller's credential: kept for this tab alone (sessionStorage), sent to this origin alone, never in a URL. */

export type Scheme = "apiKey" | "bearer";

export interface Credential {
  scheme: Scheme;
  value: string;
}

const KEY = "mcp-inspector.credential";
let current: Credential | null = read();
const listeners = new Set<() => void>();

function read(): Credential | null {
  try {
    return parseCredential(globalThis.sessionStorage.getItem(KEY));
  } catch {
    return null; // no storage here
  }
}

/** What was stored, or null where it is nothing of ours. */
export function parseCredential(stored: string | null): Credential | null {
  if (stored === null) return null;
  try {
    const found = JSON.parse(stored) as Partial<Credential> | null;
    if (found === null || typeof found.value !== "string" || found.value === "") return null;
    return found.scheme === "apiKey" || found.scheme === "bearer" ? { scheme: found.scheme, value: found.value } : null;
  } catch {
    return null;
  }
}

/** Why a value can be no credential (it has to fit into a header), or null. */
export function credentialFault(value: string): string | null {
  if (value === "") return "Enter a key or a token.";
  return /^[\x21-\x7e]+$/.test(value) ? null : "It has spaces or characters that a credential cannot have.";
}

export function getCredential(): Credential | null {
  return current;
}

export function setCredential(credential: Credential | null): void {
  current = credential;
  try {
    if (credential === null) globalThis.sessionStorage.removeItem(KEY);
    else globalThis.sessionStorage.setItem(KEY, JSON.stringify(credential));
  } catch {
    // kept in memory then
  }
  for (const listener of listeners) listener();
}

export function onCredential(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The headers that requests to the gateway carry: the inspector's API and MCP alike. */
export function credentialHeaders(credential: Credential | null = current): Record<string, string> {
  if (credential === null) return {};
  return credential.scheme === "apiKey" ? { "X-API-Key": credential.value } : { Authorization: `Bearer ${credential.value}` };
}
