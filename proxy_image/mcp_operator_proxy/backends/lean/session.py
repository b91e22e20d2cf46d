"""A session with a streamable-HTTP server that negotiates, lists, and hears of changed lists; see the package.

What the server is, says and costs is as with the client library's session (`backends.connect`): the same requests in the same
order, the same validation, the same time limits.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final

import httpx2
import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    DiscoverResult,
    Implementation,
    InitializeResult,
    ServerCapabilities,
)
from mcp_types.methods import validate_server_result
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.connect import CLIENT_INFO, Era, ResolvedTransport, Target
from mcp_operator_proxy.backends.http import TCP_SHARE
from mcp_operator_proxy.backends.lean import messages
from mcp_operator_proxy.backends.lean.exchange import Exchange, Unplain
from mcp_operator_proxy.fastlane.head import head, is_plain
from mcp_operator_proxy.fastlane.meta import client_meta, spoken_version
from mcp_operator_proxy.fastlane.pool import Pool
from mcp_operator_proxy.swap.pace import Turns
from mcp_operator_proxy.tasks import cancel, spawn

CLOSE_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 1.0
"""Between two standing streams of one session."""
RECONNECTIONS: Final = 2
"""A standing stream that fails so often in a row is not opened again."""
_SAME_ERRORS: Final = frozenset(
    {"DNSFailure", "EgressDenied", "ConnectionRefused", "TLSFailure", "Unreachable", "Timeout"}
)
"""Error classes of a failure to connect that the client library's session would report just so."""
_CHANGES: Final = frozenset(f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources"))
_CLIENT: Final = CLIENT_INFO.model_dump(by_alias=True, mode="json", exclude_none=True)
_INITIALIZE: Final = msgspec.json.encode(
    {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
)
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class LeanSession:
    """`open` it, `ask` for lists and `follow` their changes, `close` it. `era` is what is known of the server.

    `on_change` is called when the server says that a list has changed, `on_stream_end` when the standing stream of a
    handshake-era session ends or cannot be opened. `turns` are shared with other sessions, so that many answers at once
    are read one after the other. `budget` is how many bytes all answers together may have, beyond which they are `OverBudget`;
    without it, each may have `MAX_ANSWER`.
    """

    transport: Final[ResolvedTransport] = "streamable-http"

    def __init__(
        self,
        target: Target,
        era: Era | None,
        *,
        turns: Turns,
        on_change: Callable[[], None],
        on_stream_end: Callable[[], None],
        budget: int | None = None,
    ) -> None:
        self._turns = turns
        self._budget = budget
        self._pool = Pool(replace(target, connect_timeout=target.connect_timeout * TCP_SHARE))
        self._on_change = on_change
        self._on_stream_end = on_stream_end
        self._ids = count(1)
        self._known = era
        self._replies: set[asyncio.Task[None]] = set()
        self._in_session = b""
        """The header lines that every later request of a handshake-era session has."""
        self._session_id: bytes | None = None
        self._meta = b""
        self.protocol_version = ""
        self.server_info: Implementation | None = None
        self.capabilities = ServerCapabilities()
        self.instructions: str | None = None
        self.aim(target)

    @staticmethod
    def suits(target: Target) -> bool:
        """Whether such a session can be tried at all."""
        return target.transport != "sse" and target.uds is None and is_plain(target)

    def aim(self, target: Target) -> None:
        """Send the headers of `target`, which has the same endpoint, from now on."""
        self._target = target
        self._head = self._head_for("POST")

    def _head_for(self, method: str, accept: str = "text/event-stream") -> bytes:
        address = self._pool.address
        if method == "POST":
            return head(self._target, address.authority, address.path)
        return head(self._target, address.authority, address.path, method=method, accept=accept)

    @property
    def modern(self) -> bool:
        return self._known != "legacy"

    @property
    def era(self) -> Era:
        """To be asked once it is open."""
        assert self._known is not None
        return self._known

    # Negotiation

    def counts(self) -> tuple[int, int]:
        """Of its connections: those in use, idle ones. From any thread."""
        return self._pool.counts()

    async def open(self) -> None:
        """Negotiate within the target's `connect_timeout`, as `backends.connect` does.

        Raises:
            BackendError: there is no connection, or no answer in time.
            Unplain: anything else that is not as expected.
        """
        target = self._target
        try:
            async with asyncio.timeout(target.connect_timeout):
                if self._known is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(target.connect_timeout / 2):
                            self._known = await self._discovered()
                if isinstance(self._known, DiscoverResult):
                    self._adopt(self._known)
                else:
                    await self._initialize()
                    self._known = "legacy"
        except (OSError, ssl.SSLError, httpx2.ConnectTimeout) as error:  # a TimeoutError is an OSError
            report = classify(error, secrets=target.secrets)
            if report.error_class not in _SAME_ERRORS:
                raise Unplain(report.error_class) from error
            raise BackendError(report, executed=False) from error

    async def _discovered(self) -> DiscoverResult | None:
        """None for a server of the handshake eras."""
        meta = client_meta(LATEST_MODERN_VERSION, {})
        try:
            result = await self._request("server/discover", b'{"_meta":{%b}}' % meta, _modern(LATEST_MODERN_VERSION))
        except MCPError as error:
            if error.code == UNSUPPORTED_PROTOCOL_VERSION:
                raise Unplain("it names versions of its own") from error
            return None
        except messages.Refused:
            return None
        messages.floor_ttl(result)
        try:
            found = DiscoverResult.model_validate(result)
        except ValidationError as error:
            raise Unplain("an odd discovery") from error
        return found if spoken_version(found) is not None else None

    def _adopt(self, discovered: DiscoverResult) -> None:
        version = spoken_version(discovered)
        if version is None:
            raise Unplain("no version in common")
        self.protocol_version, self.capabilities = version, discovered.capabilities
        self.instructions = discovered.instructions
        self._meta = b'"_meta":{%b}' % client_meta(version, {})
        stamp = (discovered.meta or {}).get(SERVER_INFO_META_KEY)
        if stamp is not None:
            with contextlib.suppress(ValidationError):  # it is for display only
                self.server_info = Implementation.model_validate(stamp)

    async def _initialize(self) -> None:
        exchange: list[Exchange] = []
        try:
            raw = await self._request("initialize", _INITIALIZE, b"", exchange)
            validate_server_result("initialize", LATEST_HANDSHAKE_VERSION, raw)
            result = InitializeResult.model_validate(raw, by_name=False)
        except (MCPError, ValidationError) as error:
            raise Unplain("an odd handshake") from error
        finally:
            if exchange:
                self._session_id = exchange[0].headers.get(b"mcp-session-id")
        version = result.protocol_version
        self._in_session = b"mcp-protocol-version: %b\r\n" % version.encode()
        if self._session_id is not None:
            self._in_session += b"mcp-session-id: %b\r\n" % self._session_id
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise Unplain("an unknown version")
        self.protocol_version, self.server_info, self.capabilities = version, result.server_info, result.capabilities
        self.instructions = result.instructions
        told = Exchange()
        await told.run(self._pool, self._bytes(self._in_session, _INITIALIZED))
        if not 200 <= told.status < 300:
            raise Unplain(f"HTTP {told.status} to a notification")

    # Requests

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a list, validated against the negotiated version.

        Raises:
            MCPError: the server answered with an error.
            pydantic.ValidationError: the answer breaks the schema.
            Unplain: there was no proper answer.
        """
        cursor = params.get("cursor")
        said = [] if cursor is None else [b'"cursor":' + msgspec.json.encode(cursor)]
        if self.modern:
            more, said = _modern(self.protocol_version, method), [self._meta, *said]
        else:
            more = self._in_session
        result = await self._request(method, b"{" + b",".join(said) + b"}", more)
        messages.floor_ttl(result)
        validate_server_result(method, self.protocol_version, result)
        return result if self.modern else {key: result[key] for key in result.keys() - messages.MODERN_FIELDS}

    async def _request(
        self, method: str, params: bytes, more: bytes, exchanges: list[Exchange] | None = None
    ) -> dict[str, Any]:
        request_id = next(self._ids)
        body = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (request_id, method.encode(), params)
        answers: list[dict[str, Any]] = []

        def on_event(data: bytes) -> bool:
            message = messages.parse(data)
            if messages.answers(message, request_id):
                answers.append(message)
                return True
            self._heard(message)
            return False

        exchange = Exchange(on_event, limit=self._budget)
        if exchanges is not None:
            exchanges.append(exchange)
        await exchange.run(self._pool, self._bytes(more, body))
        if self._budget is not None:
            self._budget -= exchange.size
        await self._turns.turn()
        if exchange.streamed:
            if not answers:
                raise Unplain("the stream ended without an answer")
            return messages.result(answers[0])
        return messages.result_of(exchange, request_id, in_session=self._session_id is not None)

    def _bytes(self, more: bytes, body: bytes) -> bytes:
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, more, len(body), body)

    # What the server says by itself

    async def follow(self) -> None:
        """Hear of changed lists until cancelled; it ends when the server's stream has ended and lists should be read anew."""
        if self.modern:
            await self._listen()
        elif self._session_id is not None:
            await self._stand()
        await asyncio.Event().wait()

    async def _listen(self) -> None:
        """One `subscriptions/listen` stream (2026-07-28). Returns where the server has none."""
        offered = self.capabilities
        kinds = {"tools": offered.tools, "prompts": offered.prompts, "resources": offered.resources}
        wanted = {f"{kind}ListChanged": True for kind, offer in kinds.items() if offer and offer.list_changed}
        if not wanted:
            return
        method = "subscriptions/listen"
        params = b'{%b,"notifications":%b}' % (self._meta, msgspec.json.encode(wanted))
        try:
            await self._request(method, params, _modern(self.protocol_version, method))
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND:
                return
        except (Unplain, OSError, httpx2.ConnectTimeout):
            pass
        raise StreamLost

    async def _stand(self) -> None:
        """The standing GET stream of a handshake-era session, opened again when it ends. Returns where the server has none."""
        failed, last_id = 0, b""
        while failed < RECONNECTIONS:
            exchange = Exchange(self._heard_event)
            resumed = b"last-event-id: %b\r\n" % last_id if last_id else b""
            with contextlib.suppress(Unplain, OSError, httpx2.ConnectTimeout):
                await exchange.run(self._pool, self._head_for("GET") + self._in_session + resumed + b"\r\n")
            if exchange.status == 405:
                return
            if exchange.streamed:
                failed, last_id = 0, exchange.last_id or last_id
            else:
                failed += 1
            if exchange.streamed or not exchange.status:
                self._on_stream_end()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _heard_event(self, data: bytes) -> bool:
        with contextlib.suppress(Unplain):
            self._heard(messages.parse(data))
        return False

    def _heard(self, message: Mapping[str, Any]) -> None:
        method = message.get("method")
        if method in _CHANGES:
            self._on_change()
        elif "id" in message and method is not None:
            self._reply(messages.reply_to(message))

    def _reply(self, body: bytes) -> None:
        """To what the server asks: it lives (`ping`), and nobody is here whom it could ask more."""
        spawn(self._send(body), self._replies)

    async def _send(self, body: bytes) -> None:
        with contextlib.suppress(Unplain, OSError, httpx2.ConnectTimeout):
            async with asyncio.timeout(self._target.connect_timeout):
                await Exchange().run(self._pool, self._bytes(self._in_session, body))

    async def close(self) -> None:
        """End the session with the server, which has `CLOSE_SECONDS` for that."""
        try:
            await cancel(self._replies)
            if self._session_id is not None:
                with contextlib.suppress(Unplain, OSError, httpx2.ConnectTimeout):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        request = self._head_for("DELETE", "*/*") + self._in_session + b"\r\n"
                        await Exchange().run(self._pool, request)
        finally:
            self._pool.close()


class StreamLost(Exception):
    """The server's stream of changes has ended."""


def _modern(version: str, method: str = "server/discover") -> bytes:
    return b"mcp-protocol-version: %b\r\nmcp-method: %b\r\n" % (version.encode(), method.encode())
