// Made by hack/inspector_types.py of proxy_image/mcp_operator_proxy/inspector/models.py. Do not edit.

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

export interface Caller {
  name: string;
  /** Of the token, as the configuration names it; null for an API key. */
  issuer: string | null;
}

export interface Change {
  kind: "server" | "route" | "setting";
  name: string;
  change: "added" | "removed" | "changed";
  /** Which have another value. */
  fields: string[];
}

export interface ClientSession {
  /** A digest: nobody can use the session by it. */
  id: string;
  /** Path. */
  route: string;
  caller: string | null;
  era: "handshake" | "stateless";
  transport: "streamable-http" | "sse" | "stdio";
  /** Name and version, as the client says. */
  client: string | null;
  protocolVersion: string | null;
  since: string | null;
  lastActivity: string | null;
  worker: number;
}

export interface Condition {
  type: "Connected" | "Listed" | "CircuitClosed" | "ProcessRunning" | "DefinitionsApproved" | "CredentialReady";
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
  /** null where nobody has noted it. */
  since: string | null;
}

export interface CredentialItem {
  user: string;
  issuer: string;
  /** That are shown it. */
  servers: string[];
  state: "valid" | "expired" | "signInNeeded" | "refreshFailed";
  expiresAt: string | null;
  refreshedAt: string | null;
  problem: string | null;
  /** Where the caller himself signs in; of others' there is none. */
  signInUrl: string | null;
}

export interface DefinitionItem {
  server: string;
  /** The server's own name. */
  tool: string;
  kind: "changed" | "new" | "gone";
  digest: string;
  approved: string[];
  diff: string;
  definition: string;
  /** How it is approved. */
  how: string;
}

export interface Definitions {
  items: DefinitionItem[];
}

/** An error in words that a person can act on. `message` holds no secret. */
export interface ErrorReport {
  errorClass: "DNSFailure" | "ConnectionRefused" | "ConnectionReset" | "Unreachable" | "EgressDenied" | "Timeout" | "TLSFailure" | "Unauthorized" | "NotFound" | "HTTPError" | "NotMCP" | "ProtocolError" | "SecretMissing" | "NotRunning" | "CrashLoop" | "CircuitOpen" | "Overloaded" | "InternalError";
  message: string;
}

export interface ExchangeItem {
  id: string;
  at: string;
  route: string;
  caller: string | null;
  /** A digest. */
  session: string | null;
  server: string | null;
  method: string;
  name: string | null;
  /** `ok`, `tool_error`, `error`, `denied`, `limited`, `notification`. */
  outcome: string;
  milliseconds: number;
  lane: boolean;
  worker: number;
  client: Leg;
  backend: Leg | null;
  rewritten: Rewrite[];
}

export interface Fault {
  detail: string;
  pointer: string | null;
  parameter: string | null;
}

/** What there is something to show of. */
export interface Features {
  traffic: boolean;
  sessions: boolean;
  credentials: boolean;
  pinning: boolean;
  search: boolean;
}

export interface Fleet {
  servers: FleetServer[];
}

export interface FleetServer {
  /** `namespace/name`. */
  id: string;
  state: "pending" | "ready" | "error";
  phase: "pending" | "connected" | "initialized" | "error";
  circuit: "closed" | "open" | "half-open";
  /** By an operator. */
  stopped: boolean;
  healthy: boolean;
  latency: Latency;
  /** Of its tools, since the proxy began. */
  calls: number;
  errors: number;
  restarts: number;
  era: "handshake" | "stateless" | null;
  protocolVersion: string | null;
  transport: "streamable-http" | "sse" | null;
  kind: "remote" | "stdio";
  tools: number;
  prompts: number;
  resources: number;
  /** Open MCP sessions with it. */
  sessions: number;
  /** Tools whose definitions are not approved. */
  unapproved: number;
  error: ErrorReport | null;
}

/** What the server said when it was connected to. */
export interface Handshake {
  serverInfo: { [key: string]: JsonValue } | null;
  capabilities: { [key: string]: JsonValue };
  instructions: string | null;
  protocolVersion: string | null;
}

/** Of the newest calls of tools, in milliseconds; null before the first one. */
export interface Latency {
  last: number | null;
  p50: number | null;
  p95: number | null;
}

/** A request and what came back. Values that look like secrets are masked; a longer body is cut: then it is a text. */
export interface Leg {
  request: JsonValue;
  response: JsonValue;
  truncated: boolean;
}

export interface Limits {
  /** Seconds that a call may take. */
  timeout: number;
  /** Seconds. */
  connectTimeout: number;
  concurrency: number;
  /** Attempts after the first one. */
  retries: number;
}

export interface Me {
  caller: Caller | null;
  /** Without a credential nothing else is answered. */
  required: boolean;
  schemes: ("apiKey" | "bearer")[];
  operator: boolean;
  proxy: ProxyInfo;
  routes: RouteInfo[];
  features: Features;
}

export interface OwnTool {
  name: string;
  definition: { [key: string]: JsonValue };
}

/** What every error is: problem details, RFC 9457. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  errors: Fault[] | null;
  [more: string]: unknown;
}

/** The processes of a stdio server. Texts hold no value that came from a secret. */
export interface ProcessReport {
  state: "idle" | "starting" | "ready" | "ending" | "backoff" | "crash-loop" | "stopped";
  pid: number | null;
  processes: number;
  restarts: number;
  uptimeSeconds: number | null;
  exitCode: number | null;
  lastError: string | null;
  stderr: string[];
}

/** Who is not known is told name and version alone. */
export interface ProxyInfo {
  name: string;
  version: string;
  revision: string | null;
  startedAt: string | null;
  /** Of each replica. */
  workers: number | null;
  /** That are thought to be up. */
  replicas: number | null;
}

export interface Rewrite {
  /** `request.params.name`, `response.result._meta`: where the two legs differ. */
  path: string;
  from: JsonValue;
  to: JsonValue;
}

export interface RouteInfo {
  name: string;
  /** Of the MCP endpoint: where calls go. */
  path: string;
}

export interface ServerDetail {
  /** `namespace/name`. */
  id: string;
  state: "pending" | "ready" | "error";
  phase: "pending" | "connected" | "initialized" | "error";
  circuit: "closed" | "open" | "half-open";
  /** By an operator. */
  stopped: boolean;
  healthy: boolean;
  latency: Latency;
  /** Of its tools, since the proxy began. */
  calls: number;
  errors: number;
  restarts: number;
  era: "handshake" | "stateless" | null;
  protocolVersion: string | null;
  transport: "streamable-http" | "sse" | null;
  kind: "remote" | "stdio";
  tools: number;
  prompts: number;
  resources: number;
  /** Open MCP sessions with it. */
  sessions: number;
  /** Tools whose definitions are not approved. */
  unapproved: number;
  error: ErrorReport | null;
  handshake: Handshake | null;
  conditions: Condition[];
  /** Of clients that have a session of their own with it. */
  clientSessions: ClientSession[];
  process: ProcessReport | null;
  /** The newest lines of standard error, oldest first; for operators. */
  logs: string[];
  /** Why there are none here, and how to read them; for operators. */
  logsHint: string | null;
  limits: Limits;
  routes: ServerRoute[];
}

export interface ServerRoute {
  name: string;
  /** Of the MCP endpoint: where calls go. */
  path: string;
  prefix: string;
}

export interface Sessions {
  client: ClientSession[];
  users: UserSessionItem[];
  credentials: CredentialItem[];
}

export interface SwapItem {
  revision: string | null;
  at: string;
  seconds: number | null;
  outcome: "applied" | "rejected";
  /** Why it was rejected. */
  message: string | null;
  /** The first of `total`. */
  changes: Change[];
  total: number;
}

export interface Swaps {
  current: string | null;
  /** The newest first. */
  items: SwapItem[];
}

export interface ToolDetail {
  route: string;
  name: string;
  toolId: string | null;
  server: string;
  /** Whole, as clients see it. */
  definition: { [key: string]: JsonValue };
  /** As the server has it, where that differs. */
  own: OwnTool | null;
  policy: ToolPolicy;
}

export interface ToolItem {
  /** Path. */
  route: string;
  /** As clients see it. */
  name: string;
  /** By which REST, search and metrics know it. */
  toolId: string | null;
  server: string;
  title: string;
  description: string;
  category: string;
  annotations: { [key: string]: JsonValue };
  available: boolean;
}

/** What holds when this caller calls it. */
export interface ToolPolicy {
  allowed: boolean;
  reason: string;
  /** Policies: the value of their `@id`, or `policy0`, `policy1`, … in their order. */
  decidedBy: string[];
  rateLimits: ToolRateLimit[];
  timeoutSeconds: number;
  cacheSeconds: number | null;
  idempotent: boolean;
  pinning: "off" | "warn" | "enforce";
  /** null where definitions are not pinned. */
  approved: boolean | null;
}

export interface ToolRateLimit {
  name: string;
  /** Such as `100/minute`. */
  limit: string;
  per: string[];
}

export interface Tools {
  total: number;
  items: ToolItem[];
}

export interface Traffic {
  exchanges: ExchangeItem[];
  /** For `after`. */
  last: string;
}

export interface UserSessionItem {
  user: string;
  servers: string[];
  provider: string | null;
  createdAt: string;
  lastActivity: string;
  expiresAt: string;
}
