/** Problem details (RFC 9457) of a failed request, or what can be said without them. */
export class ApiProblem extends Error {
  override readonly name = "ApiProblem";

  constructor(
    /** HTTP status; 0: no answer came. */
    readonly status: number,
    readonly title: string,
    readonly detail: string | null,
    readonly instance: string | null = null,
  ) {
    super(detail === null ? title : `${title}: ${detail}`);
  }

  /** Whether a credential is missing or no longer good. */
  get unauthenticated(): boolean {
    return this.status === 401;
  }
}

const TITLES: Record<number, string> = {
  401: "Not signed in",
  403: "Not allowed",
  404: "Not found",
  429: "Too many requests",
  502: "A server does not answer",
  503: "Not available at the moment",
};

/** From a status and the text of an answer; what is no JSON object is left out. */
export function problemOf(status: number, body: string): ApiProblem {
  const fallback = TITLES[status] ?? `The gateway answered ${status}`;
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return new ApiProblem(status, fallback, null);
  }
  if (typeof parsed !== "object" || parsed === null) return new ApiProblem(status, fallback, null);
  const members = parsed as Record<string, unknown>;
  const text = (name: string): string | null => {
    const value = members[name];
    return typeof value === "string" && value !== "" ? value : null;
  };
  return new ApiProblem(status, text("title") ?? fallback, text("detail") ?? text("error_description") ?? text("error"), text("instance"));
}

/** Any error as one that can be shown. */
export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  return new ApiProblem(0, "Something went wrong in this page", error instanceof Error ? error.message : String(error));
}
