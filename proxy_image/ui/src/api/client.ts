import { credentialHeaders, getCredential, type Credential } from "./credential";
import { ApiProblem, problemOf } from "./problem";

const BASE = "/ui/api/";
type Parameters = Record<string, string | number | null | undefined>;

/** `fleet`, `tools?q=a%20b`: parameters that are null, undefined or empty are left out. */
export function apiPath(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `${BASE}${path}${text === "" ? "" : `?${text}`}`;
}

/** GET of the inspector's API. Throws ApiProblem. */
export async function get<T>(path: string, options: { parameters?: Parameters; signal?: AbortSignal; credential?: Credential | null } = {}): Promise<T> {
  const credential = options.credential === undefined ? getCredential() : options.credential;
  let answer: Response;
  try {
    answer = await fetch(apiPath(path, options.parameters), {
      headers: { Accept: "application/json", ...credentialHeaders(credential) },
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      signal: options.signal ?? null,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiProblem(0, "The gateway does not answer", "It may be restarting, or the connection is lost.");
  }
  const text = await answer.text();
  if (!answer.ok) throw problemOf(answer.status, text);
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiProblem(answer.status, "The answer is not JSON", null);
  }
}
