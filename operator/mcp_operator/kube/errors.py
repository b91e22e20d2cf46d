"""The API server's refusals, as types that a controller decides by.

`Invalid` waits for somebody's edit: the same request would be refused again. Everything else may pass, so it backs off.
A message is what the server said in its `Status` object or what the connection did. It never holds a header or a token; the
values that the server quotes are withheld where the request was about a Secret.
Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md (Response Status Kind)
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_MESSAGE_MAX: Final = 2048
_NOT_OF_THE_SCHEMA: Final = ("failed to create typed patch object", "failed to convert new object")
"""How an API server begins its answer to an applied object that does not fit the kind's schema; it calls that a 500."""
_UNACCEPTED: Final = "the API server does not accept this client's credentials"
_VALUES: Final = re.compile(r'"(?:[^"\\]|\\.)*"|got &.*', re.DOTALL)
"""What may quote a field's value: a string, or the Go value at the end of a typed patch's error."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that the server objects to. `field` is a path such as `spec.replicas`, or "" if the whole is meant."""

    field: str
    message: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """The API server refused, failed, or was not reached (`status` 0). `retry_after`: the seconds that it asked for, if any."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after


class Invalid(ApiError):
    """The object is refused as it is (422, 400, 405, 413, 415): retrying the same is of no use. `causes` name the fields."""


class NotFound(ApiError):
    """404: the object, its namespace or its kind does not exist."""


class Conflict(ApiError):
    """409: somebody else wrote meanwhile, owns a field, or a precondition (uid, resourceVersion) no longer holds."""


class AlreadyExists(Conflict):
    """409 on create."""


class Unauthorized(ApiError):
    """401: the credentials are not accepted, also after they were read anew."""


class Forbidden(ApiError):
    """403: RBAC, a quota or an admission webhook says no."""

    @property
    def namespace_terminating(self) -> bool:
        """The namespace is being deleted: nothing can be created in it, and nothing needs to be."""
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)


class Gone(ApiError):
    """410: a resourceVersion or a continue token is too old."""


class Unavailable(ApiError):
    """The server failed (5xx) or was not reached."""


class TooManyRequests(Unavailable):
    """429: priority and fairness, or a disruption budget; `retry_after` as the server asked."""


class Timeout(Unavailable):
    """No answer in time, from us (`status` 0) or from the server (504). A write may have taken effect."""


class Fenced(ApiError):
    """Nothing was sent: this process may not write now, as it does not lead (any more)."""


class ConfigError(Exception):
    """There is no usable kubeconfig or service account. The message says what was looked for."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
    504: Timeout,
}


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, phrase: str = "", path: str = ""
) -> ApiError:
    """The error for a response that is not 2xx. Where `path` is about Secrets, values that the server quotes are left out."""
    answer = _status_object(body)
    reason = str(answer.get("reason") or "")
    details = answer.get("details") or {}
    message = _clean(answer.get("message") or f"HTTP {status} {phrase}".strip(), path)
    causes = tuple(_cause(item, path) for item in details.get("causes") or ())
    seconds = _seconds(headers.get("Retry-After")) or _seconds(details.get("retryAfterSeconds"))
    error = _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)
    if reason == "AlreadyExists":
        error = AlreadyExists
    elif status == 500 and message.startswith(_NOT_OF_THE_SCHEMA):
        error = Invalid
    elif status == 401:
        message = _UNACCEPTED
    return error(message, status=status, reason=reason, causes=causes, retry_after=seconds)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _cause(item: Mapping[str, Any], path: str) -> Cause:
    return Cause(
        str(item.get("field") or ""), _clean(str(item.get("message") or ""), path), str(item.get("reason") or "")
    )


def _clean(message: str, path: str) -> str:
    """The message, shortened, and without values where it is about a Secret; the names that the path holds stay."""
    segments = path.split("/")
    if "secrets" in segments:
        message = _VALUES.sub(lambda found: found[0] if found[0][1:-1] in segments else "(withheld)", message)
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def _seconds(value: object) -> float | None:
    """Retry-After in seconds; its other form, a date, is never sent by an API server."""
    try:
        return max(0.0, float(str(value))) if value is not None else None
    except ValueError:
        return None
