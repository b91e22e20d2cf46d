"""What went wrong, as problem details (RFC 9457). No text holds a credential or the value of a parameter."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final
from urllib.parse import quote

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE: Final = "application/problem+json"
BASE: Final = "https://mcp-operator.dev/problems/"


@dataclass(frozen=True)
class Kind:
    """One type of problem; its URI is `BASE` and `name`. docs/rest.md explains each."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        return BASE + self.name


INVALID_REQUEST: Final = Kind("invalid-request", 422, "The request is not what the interface describes")
MALFORMED: Final = Kind("malformed", 400, "The body is not JSON that can be read")
TOO_LARGE: Final = Kind("too-large", 413, "The body is too large")
UNAUTHENTICATED: Final = Kind("unauthenticated", 401, "The caller is not known")
FORBIDDEN: Final = Kind("forbidden", 403, "The caller may not do this")
WRONG_HOST: Final = Kind("wrong-host", 421, "This host is not served here")
NOT_FOUND: Final = Kind("not-found", 404, "There is nothing here")
NOT_ALLOWED: Final = Kind("method-not-allowed", 405, "The method is not for this")
UNKNOWN_TOOL: Final = Kind("unknown-tool", 404, "There is no such tool")
QUARANTINED: Final = Kind("quarantined", 403, "The tool's definition is not approved")
UNKNOWN_SERVER: Final = Kind("unknown-server", 404, "There is no such server")
UNKNOWN_SESSION: Final = Kind("unknown-session", 404, "There is no such session")
AMBIGUOUS_SERVER: Final = Kind("ambiguous-server", 409, "Servers of several namespaces have the name")
BAD_PARAMETERS: Final = Kind("bad-parameters", 422, "The parameters do not fit the tool")
INPUT_REQUIRED: Final = Kind("input-required", 422, "The tool asks its user something")
SIGN_IN: Final = Kind("sign-in-required", 403, "The user has to sign in")
NO_PROCESS: Final = Kind("no-process", 409, "The server has no process here")
TOO_MANY_SESSIONS: Final = Kind("too-many-sessions", 429, "As many sessions are open as may be")
RATE_LIMITED: Final = Kind("rate-limited", 429, "Too many calls")
TIMEOUT: Final = Kind("tool-timeout", 504, "The tool did not answer in time")
UNAVAILABLE: Final = Kind("server-unavailable", 503, "The server cannot be reached")
BAD_ANSWER: Final = Kind("bad-server-answer", 502, "The server gave no proper answer")
SERVER_ERROR: Final = Kind("server-error", 502, "The server refused the call")
NEEDS_REDIS: Final = Kind("needs-redis", 501, "Several workers need a Redis for this")
STORE_DOWN: Final = Kind("store-unavailable", 503, "Redis or the database cannot be reached")
NOT_READY: Final = Kind("not-ready", 503, "No configuration is in use")
INTERNAL: Final = Kind("internal", 500, "A fault of the proxy")
KINDS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = Field(None, description="JSON pointer (RFC 6901) into the body, as a URI fragment.")
    parameter: str | None = Field(None, description="Of the query or the path.")


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URI of the type; docs/rest.md lists all.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="Names this occurrence: a UUID as a URN.")
    errors: list[Fault] | None = None
    tool_id: str | None = None
    server_id: str | None = None
    error_class: str | None = Field(None, description="Of a server that gave no proper answer: why.")
    executed: bool | None = Field(None, description="false: the tool certainly did not run.")
    retry_after: int | None = Field(None, description="Seconds.")
    sign_in_url: str | None = Field(None, description="Where the user signs in.")


class ProblemError(Exception):
    """Raised by whatever answers a request."""

    def __init__(self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers, self.more = kind, detail, dict(headers or {}), more


def problem(
    kind: Kind,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
    errors: Sequence[Fault] = (),
    retry_after: float | None = None,
    **more: Any,
) -> JSONResponse:
    """The response. What is None is left out."""
    seconds = None if retry_after is None else max(1, ceil(retry_after))
    body = Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=instance or f"urn:uuid:{uuid.uuid4()}",
        errors=list(errors) or None,
        retry_after=seconds,
        **more,
    )
    sent = {**(headers or {}), **({"retry-after": str(seconds)} if seconds is not None else {})}
    return JSONResponse(body.model_dump(exclude_none=True), kind.status, sent, MEDIA_TYPE)


def fragment(*path: str | int) -> str:
    """A JSON pointer as a URI fragment (RFC 6901, section 6)."""
    parts = (quote(str(part).replace("~", "~0").replace("/", "~1"), safe="!$&'()*+,;=:@~") for part in path)
    return "#" + "".join(f"/{part}" for part in parts)


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation, for its OpenAPI description."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({kind.status for kind in kinds}):
        names = [f"`{kind.name}`: {kind.title}." for kind in kinds if kind.status == status]
        found[status] = {
            "description": " ".join(names),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found
