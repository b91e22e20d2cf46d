"""From an exception to an `ErrorReport`: which of the fixed error classes it is, in words that a person can act on.

Pure. No message holds a URL, a header or a secret: text that comes from outside is redacted and cut short.
"""

import base64
import binascii
import errno
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Final

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, PARSE_ERROR, REQUEST_TIMEOUT
from pydantic import ValidationError

from mcp_operator_proxy.backends.network import EgressDenied
from mcp_operator_proxy.bridge.jsonrpc import SERVER_EXITED, SERVER_UNAVAILABLE
from mcp_operator_proxy.report import ErrorClass, ErrorReport

MAX_TEXT: Final = 300
MAX_PROCESS_TEXT: Final = 1200
"""With the last lines that a process wrote to standard error."""
_UNREACHABLE_ERRNO: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_RESET_ERRNO: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_EVENT_LIMIT = re.compile(r"exceeded the (\d+) byte limit")
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>)]+")
_CREDENTIAL = re.compile(r"\b(bearer|basic|token)\s+[\w.~+/=-]{4,}", re.IGNORECASE)


class BackendError(Exception):
    """A backend could not be asked, or did not answer as an MCP server.

    `executed` is False only where it is certain that the request never ran, so that it may be repeated.
    """

    def __init__(
        self,
        report: ErrorReport,
        *,
        executed: bool = True,
        session_lost: bool = False,
        era_changed: bool = False,
        challenge: str | None = None,
    ) -> None:
        super().__init__(report.message)
        self.report = report
        self.executed = executed
        self.session_lost = session_lost
        """The server forgot the session (404): a new one is needed."""
        self.era_changed = era_changed
        """The server refused the protocol era that it spoke before."""
        self.challenge = challenge
        """The `WWW-Authenticate` header of an HTTP 401, empty where it had none; None for every other failure."""


class HTTPStatusFailure(Exception):
    """The server answered with an HTTP status that is no MCP answer."""

    def __init__(self, status: int, challenge: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.challenge = challenge
        """The `WWW-Authenticate` header that came with it."""


class AnswerTooLarge(Exception):
    """The server's answer has more bytes than are taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class NotMCPFailure(Exception):
    """The server answered with something that is not JSON-RPC, for example a web page."""


class StreamEnded(Exception):
    """The response stream broke off before the answer came."""


def challenge_of(failure: BaseException | None) -> str | None:
    """What `BackendError.challenge` says of `failure`."""
    return failure.challenge if isinstance(failure, HTTPStatusFailure) and failure.status == 401 else None


def is_own_error(error: MCPError) -> bool:
    """Whether the MCP client made the error up for a broken connection. Servers use its codes for errors of their own."""
    if error.code == CONNECTION_CLOSED:
        return error.message.startswith(("Connection closed", "SSE stream"))
    return error.code == PARSE_ERROR and error.message.startswith("Failed to parse")


def redact(text: str, secrets: Iterable[str] = (), most: int = MAX_TEXT) -> str:
    """`text` without secrets, credentials, URLs and what a terminal would obey, at most `most` characters long."""
    parts = {part for secret in secrets for part in secret_parts(secret)}
    for secret in sorted((part for part in parts if len(part) >= 4), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _CREDENTIAL.sub(lambda m: f"{m.group(1)} ***", _URL.sub("<url>", text))
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def secret_parts(value: str) -> Iterator[str]:
    """A header's value and the parts of it that are credentials on their own: `Bearer TOKEN`, `Basic BASE64(user:password)`."""
    yield value
    scheme, _, rest = value.strip().partition(" ")
    token = rest.strip()
    if not token:
        return
    yield token
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair
        yield pair.partition(":")[2]


def classify(error: BaseException, *, secrets: Iterable[str] = ()) -> ErrorReport:
    """The report of `error`, found anywhere in its causes, contexts and groups; the most telling one wins."""
    chain = list(_chain(error))
    for found in chain:
        if isinstance(found, BackendError):
            return found.report
    for rule in (
        _egress,
        _dns,
        _tls,
        _refused,
        _status,
        _too_large,
        _not_mcp,
        _timeout,
        _reset,
        _unreachable,
        _process,
        _protocol,
    ):
        for found in chain:
            if (report := rule(found, tuple(secrets))) is not None:
                return report
    return _report("InternalError", f"unexpected {type(error).__name__} in the proxy; its log has the details")


def backend_error(error: BaseException) -> BaseException:
    """The first BackendError among `error`, its causes, contexts and groups; `error` itself where there is none."""
    return next((found for found in _chain(error) if isinstance(found, BackendError)), error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue = [error]
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            queue.extend(current.exceptions)
        queue.extend(e for e in (current.__cause__, current.__context__) if e is not None)


def _report(error_class: ErrorClass, message: str) -> ErrorReport:
    return ErrorReport(error_class=error_class, message=message)


def _egress(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    return _report("EgressDenied", str(error)) if isinstance(error, EgressDenied) else None


def _dns(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, socket.gaierror):
        return _report(
            "DNSFailure", "the server's host name does not resolve; check the name, and that its Service exists"
        )
    return None


def _tls(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", "verification failed")
        return _report("TLSFailure", f"the server's certificate is not trusted ({why}); check the CA bundle")
    waiting = isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)  # of a handshake that was cut off
    if isinstance(error, ssl.SSLError) and not waiting:
        return _report("TLSFailure", "the TLS handshake failed; check that the server speaks TLS at this port")
    return None


def _refused(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, ConnectionRefusedError) or (isinstance(error, OSError) and error.errno == errno.ECONNREFUSED):
        return _report(
            "ConnectionRefused", "nothing listens at the server's address; check that it runs and its port is right"
        )
    return None


def _status(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, HTTPStatusFailure):
        status = error.status
    elif isinstance(error, httpx2.HTTPStatusError):
        status = error.response.status_code
    else:
        return None
    if status in (401, 403):
        return _report("Unauthorized", f"the server answered HTTP {status}; check the credentials in its headers")
    if status in (404, 410):
        return _report("NotFound", f"the server answered HTTP {status}; check the path of its URL")
    return _report("HTTPError", f"the server answered HTTP {status}")


def _too_large(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, AnswerTooLarge):
        return _report("ProtocolError", f"the server's answer is larger than {error.limit:,} bytes")
    told = str(error) if isinstance(error, httpx2.SSEError) else ""
    if isinstance(error, MCPError) and is_own_error(error):
        told = error.message
    if (found := _EVENT_LIMIT.search(told)) is not None:
        return _report("ProtocolError", f"the server's answer is larger than {int(found[1]):,} bytes")
    return None


def _not_mcp(error: BaseException, secrets: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, NotMCPFailure):
        return _report("NotMCP", redact(f"the server does not speak MCP here: {error}", secrets))
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | httpx2.DecodingError):
        return _report("NotMCP", "the server does not speak MCP here: its answer is not JSON")
    if isinstance(error, MCPError) and is_own_error(error) and error.code == PARSE_ERROR:
        return _report("NotMCP", "the server does not speak MCP here: its answer is not a JSON-RPC message")
    return None


def _timeout(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, httpx2.ConnectTimeout):
        return _report("Timeout", "the server did not accept a connection in time")
    if isinstance(error, TimeoutError | httpx2.TimeoutException) or (
        isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT
    ):
        return _report("Timeout", "the server did not answer in time")
    return None


def _reset(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    reset = isinstance(
        error,
        ConnectionResetError
        | BrokenPipeError
        | httpx2.RemoteProtocolError
        | httpx2.ReadError
        | httpx2.WriteError
        | StreamEnded,
    )
    if reset or (isinstance(error, OSError) and error.errno in _RESET_ERRNO):
        return _report("ConnectionReset", "the server closed the connection before it answered")
    if isinstance(error, MCPError) and is_own_error(error):
        return _report("ConnectionReset", "the server closed the connection before it answered")
    return None


def _unreachable(error: BaseException, _: tuple[str, ...]) -> ErrorReport | None:
    network = isinstance(error, httpx2.NetworkError | httpx2.ProxyError)
    if network or (isinstance(error, OSError) and error.errno in _UNREACHABLE_ERRNO):
        return _report("Unreachable", "the server's address cannot be reached; check the network and its policies")
    return None


def _process(error: BaseException, secrets: tuple[str, ...]) -> ErrorReport | None:
    """What the bridge says of a stdio server that does not run."""
    if not isinstance(error, MCPError) or error.code not in {SERVER_UNAVAILABLE, SERVER_EXITED}:
        return None
    data = error.data if isinstance(error.data, dict) else {}
    if data.get("reason") not in {"ServerUnavailable", "ServerExited"}:
        return None
    text = redact(error.message, secrets, MAX_PROCESS_TEXT)
    return _report("CrashLoop" if data.get("state") == "crash-loop" else "NotRunning", text)


def _protocol(error: BaseException, secrets: tuple[str, ...]) -> ErrorReport | None:
    if isinstance(error, MCPError):
        return _report(
            "ProtocolError", redact(f"the server answered with error {error.code}: {error.message}", secrets)
        )
    if isinstance(error, ValidationError):
        return _report(
            "ProtocolError", redact(f"the server's answer breaks the MCP schema at {_where(error)}", secrets)
        )
    if isinstance(error, httpx2.SSEError):
        return _report("ProtocolError", "the server's event stream is malformed")
    if isinstance(error, RuntimeError) and "protocol version" in str(error).lower():
        return _report("ProtocolError", redact(str(error), secrets))
    return None


def _where(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'its root'} ({first['msg']})"
