"""The audit: one record for each call, of who called what, what was decided, and how it ended.

A call costs an append. A timer writes to standard output, as the access log's does, and a task writes to the database in batches;
the database keeps records for as long as the configuration says.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from prometheus_client import Counter
from starlette.types import Scope

from mcp_operator_proxy.access import MAX_NAME, MAX_TRACE, LineLog, stdout
from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.config import Audit as AuditSettings
from mcp_operator_proxy.config import Users
from mcp_operator_proxy.services.users.identity import user_of
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel, spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.relay import FrontContext
    from mcp_operator_proxy.fastlane.call import Incoming
    from mcp_operator_proxy.fastlane.rewrite import Request
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
CALLS: Final = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})
"""Requests that reach a server; lists are answered by the proxy."""
MAX_ARGUMENTS: Final = 16 * 1024
"""Bytes of arguments as JSON; of larger ones only the size is kept."""
MAX_WAITING: Final = 50_000
BATCH: Final = 500
BATCH_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 20.0
"""For what waits for the database when the proxy ends."""
AGAIN_SECONDS: Final = (1.0, 30.0)
"""The database is asked again after the first, doubled each time, up to the second."""
PURGE_SECONDS: Final = 3600.0
NAME: Final = 255
_PURGED: Final = 5000
"""Records that one transaction removes."""


class Record(msgspec.Struct, gc=False):
    """One call, or one request that was refused before it became one: as it is kept until somebody writes it."""

    time: float
    """Seconds since the epoch."""
    principal: Principal | None
    users: Users
    """Says who of them the caller is, where `user` does not."""
    user: str | None
    route: str | None
    server: str | None
    method: str
    name: str | None
    """As the caller named it."""
    decision: str
    """`allowed`, `refused` (authentication, authorization, a malformed request), `limited` (a rate limit)."""
    outcome: str
    """`ok`, `tool_error`, `error`; of a refused request its HTTP status."""
    seconds: float
    trace: str | None = None
    arguments: bytes | None = None


class Line(msgspec.Struct, omit_defaults=True, tag_field="message", tag="audit"):
    """A record as it stands on standard output."""

    time: datetime
    principal: str | None = None
    user: str | None = None
    route: str | None = None
    server: str | None = None
    method: str = ""
    name: str | None = None
    decision: str = ""
    outcome: str = ""
    seconds: float = -1.0
    trace: str | None = None
    arguments: msgspec.Raw | None = None


class _Dropped(msgspec.Struct, tag_field="message", tag="audit records dropped"):
    time: datetime
    records: int


class Audit:
    """`on` says whether anything is to be added. `write` is where lines go, where the configuration wants them."""

    def __init__(self, proxy: "Proxy", write: Callable[[bytes], None] = stdout) -> None:
        self._proxy = proxy
        self.settings: AuditSettings | None = None
        self.write = write
        self._lines: LineLog[Record] | None = None
        self._waiting: list[Record] = []
        self._writing: asyncio.Task[None] | None = None
        self._purging: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._more = asyncio.Event()
        self._dropped = Counter(
            "mcp_proxy_audit_dropped",
            "Audit records that the database did not take in time.",
            registry=proxy.metrics.registry,
        )
        self._lost = 0
        self._users = Users()
        self._flushing = asyncio.Lock()

    @property
    def on(self) -> bool:
        return self.settings is not None

    def use(self, prepared: "Prepared") -> None:
        settings = self.settings = prepared.config.audit
        self._users = prepared.config.users
        wants_lines, wants_records = (settings.stdout, settings.database) if settings else (False, False)
        if wants_lines and self._lines is None:
            self._lines = LineLog("audit", encode, self.write)
        elif not wants_lines and self._lines is not None:
            spawn(self._lines.close(), self._closing)
            self._lines = None
        loop = asyncio.get_running_loop()
        if wants_records and self._writing is None:
            self._writing = loop.create_task(self._write_batches())
            self._purging = loop.create_task(self._purge())
        elif not wants_records and self._writing is not None:
            spawn(self._end(self._writing, self._purging), self._closing)
            self._writing = self._purging = None

    # Recording

    def add(self, record: Record) -> None:
        """Nothing is kept where the audit is off."""
        settings = self.settings
        if settings is None:
            return
        if self._lines is not None:
            self._lines.add(record)
        if settings.database:
            if len(self._waiting) >= MAX_WAITING:
                self._lost += 1
                self._dropped.inc()
                return
            self._waiting.append(record)
            if not self._more.is_set():
                self._more.set()

    def record(  # noqa: PLR0917 - the parts of a record
        self,
        principal: Principal | None,
        user: str | None,
        method: str,
        name: str | None,
        server: str | None,
        decision: str,
        outcome: str,
        seconds: float,
        *,
        route: str | None = None,
        trace: str | None = None,
        arguments: Any = None,
    ) -> None:
        """Add one call, however it came; `seconds` is how long it took. `arguments` are kept only where that is asked for."""
        settings = self.settings
        if settings is None:
            return
        kept = msgspec.json.encode(arguments) if settings.arguments and arguments is not None else None
        users = self._users
        self.add(
            Record(
                time.time(),
                principal,
                users,
                user,
                route,
                server,
                method,
                name,
                decision,
                outcome,
                seconds,
                trace,
                kept,
            )
        )

    def add_from_lane(  # noqa: PLR0917 - of the lane's own
        self, incoming: "Incoming", request: "Request", outcome: str, seconds: float, now: float, server: str
    ) -> None:
        """A call that the fast lane answered."""
        settings, head = self.settings, incoming.head
        if settings is None:
            return
        trace = head.found.get(b"traceparent")
        self.add(
            Record(
                now,
                head.principal,
                head.state.config.users,
                None,
                head.route.path,
                server,
                request.method,
                request.name,
                "allowed",
                outcome,
                seconds,
                None if trace is None else trace.decode("latin-1"),
                request.arguments if settings.arguments else None,
            )
        )

    def add_request(self, path: str, ctx: "FrontContext", decision: str, outcome: str, seconds: float) -> None:
        """A request of the full path, whichever way it came."""
        if self.settings is None or ctx.method not in CALLS:
            return
        params: Mapping[str, Any] = ctx.params or {}
        name = params.get("name", params.get("uri"))
        scope: Scope = ctx.request.scope if ctx.request is not None else {}
        principal = _principal(scope)
        self.record(
            principal,
            None,
            ctx.method,
            name if isinstance(name, str) else None,
            self._server(path, ctx.method, name, principal),
            decision,
            outcome,
            seconds,
            route=path,
            trace=_trace(scope),
            arguments=params.get("arguments"),
        )

    def add_refusal(self, scope: Scope, status: int, seconds: float) -> None:
        """A request that was answered before it became one of MCP: no credentials, malformed, too large."""
        if self.settings is None:
            return
        principal = _principal(scope)
        self.record(
            principal,
            None,
            f"HTTP {scope['method']}"[:64],
            None,
            None,
            "refused",
            str(status),
            seconds,
            route=scope["path"],
            trace=_trace(scope),
        )

    def _server(self, path: str, method: str, name: Any, principal: Principal | None) -> str | None:
        if not isinstance(name, str):
            return None
        table = self._proxy.table(path, principal)
        if method == "resources/read":
            found = table.resource(name)
            return found[0] if found is not None else None
        entry = (table.tools if method == "tools/call" else table.prompts).get(name)
        return entry.server if entry is not None else None

    # The database

    async def _write_batches(self) -> None:
        pause = AGAIN_SECONDS[0]
        while True:
            await self._more.wait()
            await asyncio.sleep(BATCH_SECONDS)
            try:
                async with self._flushing:
                    await self._flush()
                pause = AGAIN_SECONDS[0]
            except StoreUnavailable as error:
                logger.warning("audit records wait for the database", extra={"error": str(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, AGAIN_SECONDS[1])

    async def _flush(self) -> None:
        """Write all that waits. Raises StoreUnavailable: what is not written waits on."""
        from mcp_operator_proxy.stores.records.models import AuditRecord  # noqa: PLC0415 - only who has a database pays

        self._tell_lost()
        while self._waiting:
            batch = self._waiting[:BATCH]
            database = await self._proxy.services.stores.records()
            async with database.transaction() as session:
                session.add_all(AuditRecord(**row(record)) for record in batch)
            del self._waiting[: len(batch)]
        self._more.clear()

    def _tell_lost(self) -> None:
        if self._lost:
            logger.error(
                "audit records were dropped, as the database does not take them", extra={"records": self._lost}
            )
            self._lost = 0

    async def _purge(self) -> None:
        """Remove what is old, once among replicas."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                async with self._proxy.services.stores.keyvalue.lock("audit:purge", PURGE_SECONDS / 2) as held:
                    if held:
                        await self.purge()
            await asyncio.sleep(PURGE_SECONDS)

    async def purge(self) -> int:
        """Remove the records that are older than the configuration keeps them; how many. Raises StoreUnavailable."""
        from sqlalchemy import delete, select  # noqa: PLC0415 - as above

        from mcp_operator_proxy.stores.records.models import AuditRecord  # noqa: PLC0415 - as above

        if self.settings is None:
            return 0
        until = datetime.now(UTC) - timedelta(seconds=self.settings.keep_seconds)
        removed = 0
        while True:
            database = await self._proxy.services.stores.records()
            async with database.transaction() as session:
                old = list(await session.scalars(select(AuditRecord.id).where(AuditRecord.at < until).limit(_PURGED)))
                if old:
                    await session.execute(delete(AuditRecord).where(AuditRecord.id.in_(old)))
            removed += len(old)
            if len(old) < _PURGED:
                return removed

    async def _end(self, writing: "asyncio.Task[None]", purging: "asyncio.Task[None] | None") -> None:
        """Write what waits. A batch that is under way is not cut off, which would write it twice, nor is the opening of the database."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._flushing:
                await cancel([writing])
                await self._flush()
        except (StoreUnavailable, TimeoutError) as error:
            logger.error(  # noqa: TRY400 - what there is to say
                "audit records are lost, as the database does not take them",
                extra={"records": len(self._waiting), "error": type(error).__name__},
            )
            self._dropped.inc(len(self._waiting))
            self._waiting.clear()
        finally:
            await cancel([task for task in (writing, purging) if task is not None])

    async def close(self) -> None:
        if self._writing is not None:
            await self._end(self._writing, self._purging)
            self._writing = self._purging = None
        if self._lines is not None:
            await self._lines.close()
            self._lines = None
        if self._closing:
            await asyncio.wait(self._closing)


def line_of(record: Record) -> Line:
    """As it is written."""
    principal, arguments = record.principal, record.arguments
    if arguments is not None and len(arguments) > MAX_ARGUMENTS:
        arguments = b'{"tooLarge":%d}' % len(arguments)
    return Line(
        time=datetime.fromtimestamp(record.time, UTC),
        principal=None if principal is None else principal.key[:NAME],
        user=record.user or user_of(principal, record.users),
        route=None if record.route is None else record.route[:NAME],
        server=record.server,
        method=record.method[:64],
        name=None if record.name is None else record.name[:MAX_NAME],
        decision=record.decision,
        outcome=record.outcome[:32],
        seconds=round(record.seconds, 6),
        trace=None if record.trace is None else record.trace[:MAX_TRACE],
        arguments=None if arguments is None else msgspec.Raw(arguments),
    )


def row(record: Record) -> dict[str, Any]:
    """As the table has it."""
    line = line_of(record)
    return {
        "at": line.time,
        "principal": _plain(line.principal),
        "user_id": _plain(line.user),
        "route": _plain(line.route),
        "server": line.server,
        "method": line.method,
        "name": _plain(line.name),
        "decision": line.decision,
        "outcome": line.outcome,
        "seconds": line.seconds,
        "trace": _plain(line.trace),
        "arguments": None if line.arguments is None else _plain(msgspec.json.decode(line.arguments)),
    }


def _plain(value: Any) -> Any:
    """PostgreSQL takes no NUL in a text."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    return value


_ENCODER: Final = msgspec.json.Encoder()


def encode(records: list[Record], dropped: int = 0) -> bytes:
    """As JSON, one object a line."""
    lines: list[Any] = [line_of(record) for record in records]
    if dropped:
        lines.append(_Dropped(datetime.now(UTC), dropped))
    return _ENCODER.encode_lines(lines)


def _principal(scope: Scope) -> Principal | None:
    found = scope.get(PRINCIPAL)
    return found if isinstance(found, Principal) else None


def _trace(scope: Scope) -> str | None:
    return next((v.decode("latin-1") for k, v in scope.get("headers", ()) if k == b"traceparent"), None)
