"""One exchange with a server that may be hostile: connect as a client does, ask, end the session; bounded in time and bytes."""

import asyncio
import contextlib
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from mcp_operator.probe.bounded import MAX_BYTES, BoundedTransport
from mcp_operator.probe.target import Target
from mcp_operator_proxy.backends.check import explained
from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.connect import Connected, connect
from mcp_operator_proxy.backends.http import Attempt, BadCABundle, current_attempt, http_client
from mcp_operator_proxy.report import ErrorReport

T = TypeVar("T")
Ask = Callable[[Connected], Awaitable[T | ErrorReport]]
_CLOSE_SECONDS: Final = 1.0
_ASK_WHOM_SECONDS: Final = 1.0
"""For finding out whom a server trusts that wants to be authorized."""
_TCP_SHARE: Final = 0.35
"""Of the whole time: what TCP and TLS may take. Negotiation cancels what takes longer, and a cancelled TLS handshake leaks its socket."""
_SENDABLE: Final = re.compile(r"[\t\x20-\x7e]*")
_UNSENDABLE: Final = "its value holds a line break or another character that HTTP does not allow"
log = logging.getLogger(__name__)


async def exchange(target: Target, ask: Ask[T]) -> tuple[T | ErrorReport, float]:
    """Connect, negotiate, `ask`, end the session: what was found, and the seconds that this took. Raises nothing but `CancelledError`.

    What `ask` raises is classified. It takes at most `target.timeout` seconds, and one more where the server leaves the end of
    the session unanswered. Whatever a server sends, at most `MAX_BYTES` of it are taken in.
    """
    started = time.monotonic()
    try:
        found, ended = await _exchange(target, ask)
    except Exception as error:  # noqa: BLE001 - of a server anything may come
        found, ended = _internal(error), time.monotonic()
    return found, ended - started


async def _exchange(target: Target, ask: Ask[T]) -> tuple[T | ErrorReport, float]:
    """What was found, and when: closing comes after that."""
    if bad := [name for name, value in target.headers.items() if not _SENDABLE.fullmatch(value)]:
        message = f"the header {bad[0]} cannot be sent: {_UNSENDABLE}"
        return ErrorReport(error_class="HTTPError", message=message), time.monotonic()
    try:
        transport = BoundedTransport(
            target.headers,
            target.ca_bundle,
            close_seconds=_CLOSE_SECONDS,
            verify=target.verify,
            egress=target.egress,
        )
    except BadCABundle as error:
        message = f"the CA bundle of this server is {error}"
        return ErrorReport(error_class="TLSFailure", message=message), time.monotonic()
    to_connect = target.to_connect()
    found: T | ErrorReport | None = None
    ended = 0.0
    try:
        # The outer time is for what shields itself from the inner one while it is being closed.
        async with asyncio.timeout(target.timeout + _CLOSE_SECONDS), AsyncExitStack() as stack:
            async with asyncio.timeout(target.timeout) as whole:
                http = await stack.enter_async_context(http_client(transport, target.timeout * _TCP_SHARE))
                connected = await stack.enter_async_context(connect(to_connect, http=http))
            found = await _answer(connected, ask, whole.when(), to_connect.secrets)
            ended = time.monotonic()
    except Exception as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError from error
        if found is None:  # what goes wrong in closing is not the server's state
            found, ended = _explained(error, to_connect.secrets), time.monotonic()
            if isinstance(error, BackendError) and error.challenge is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ASK_WHOM_SECONDS):
                        found = await explained(to_connect, error)
    assert found is not None
    return _too_big() if transport.exceeded and isinstance(found, ErrorReport) else found, ended


async def _answer(
    connected: Connected, ask: Ask[T], deadline: float | None, secrets: tuple[str, ...]
) -> T | ErrorReport:
    attempt = Attempt()
    token = current_attempt.set(attempt)
    try:
        async with asyncio.timeout_at(deadline):
            return await ask(connected)
    except Exception as error:  # noqa: BLE001 - classified
        return _explained(attempt.failure or error, secrets)
    finally:
        current_attempt.reset(token)


def _explained(error: BaseException, secrets: tuple[str, ...]) -> ErrorReport:
    report = classify(error, secrets=secrets)
    return _internal(error) if report.error_class == "InternalError" else report


def _internal(error: BaseException) -> ErrorReport:
    # Without the exception's text, which may hold what the server echoed.
    log.error("unexpected %s in a probe\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return ErrorReport(
        error_class="InternalError", message=f"the probe failed with an unexpected {type(error).__name__}"
    )


def _too_big() -> ErrorReport:
    message = f"the server's answers are larger than {MAX_BYTES // 2**20} MiB, more than a probe takes in"
    return ErrorReport(error_class="ProtocolError", message=message)
