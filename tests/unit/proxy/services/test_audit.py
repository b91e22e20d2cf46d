# ruff: noqa: SIM117 - nested, in the order in which they start
"""The audit: what was called, by whom, and how it ended; on standard output and in the database, nothing lost at the end."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from sqlalchemy import select

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import Users
from mcp_operator_proxy.services import audit as module
from mcp_operator_proxy.services.audit import MAX_ARGUMENTS, Record, encode, row
from mcp_operator_proxy.stores.records.database import Database
from mcp_operator_proxy.stores.records.models import AuditRecord
from support.backends import ServedMCP, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.stores import Postgres

KEY = "alice-" + "k" * 20
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FRONTS = ["legacy", "auto"]


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("t")

    @mcp.tool
    def echo(text: str) -> str:
        if text == "bad":
            raise ToolError("no")
        return text

    @mcp.prompt
    def greet() -> str:
        return "hello"

    @mcp.resource("data://x")
    def data() -> str:
        return "x"

    return mcp


def configured(url: str, **audit: Any) -> Any:
    return make_config(
        {"a": url},
        auth={"apiKeys": [{"name": "alice", "secret": {"file": "key"}}]},
        rateLimits=[{"name": "few", "limit": "3/hour", "tools": "echo"}],
        audit=audit,
    )


def lines(running: Gateway) -> Callable[[], list[dict[str, Any]]]:
    """What the audit writes, instead of to standard output."""
    written = bytearray()
    running.proxy.services.audit.write = written.extend
    return lambda: [json.loads(line) for line in bytes(written).splitlines()]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("lane", [True, False])
async def test_each_call_has_a_record_by_each_way(front: str, lane: bool) -> None:
    async with ServedMCP(tools()) as served, running_gateway() as running:
        written = lines(running)
        await running.proxy.apply(configured(served.url), {"key": KEY})
        running.proxy.lane.enabled = lane
        async with client(running.url, front, auth=KEY) as through:
            await through.list_tools()
            for text in ("one", "two", "bad"):
                await through.call_tool("a_echo", {"text": text}, raise_on_error=False)
            with pytest.raises(MCPError):
                await through.call_tool("a_echo", {"text": "four"})
            with pytest.raises(MCPError):
                await through.call_tool("a_none", {})
            await through.get_prompt("a_greet")
            (resource,) = await through.list_resources()
            await through.read_resource(resource.uri)
        denied = await running.http.post(running.url, json={}, headers={"content-type": "application/json"})
        assert denied.status_code == 401
        await eventually(lambda: len(written()) >= 8)
        found = [
            (
                r["method"],
                r.get("name"),
                r.get("server"),
                r["decision"],
                r["outcome"],
                r.get("principal"),
                r.get("user"),
            )
            for r in written()
        ]
        who = ("alice", "key/alice")
        assert found == [
            ("tools/call", "a_echo", "ns/a", "allowed", "ok", *who),
            ("tools/call", "a_echo", "ns/a", "allowed", "ok", *who),
            ("tools/call", "a_echo", "ns/a", "allowed", "tool_error", *who),
            ("tools/call", "a_echo", "ns/a", "limited", "error", *who),
            ("tools/call", "a_none", None, "allowed", "error", *who),
            ("prompts/get", "a_greet", "ns/a", "allowed", "ok", *who),
            ("resources/read", str(resource.uri), "ns/a", "allowed", "ok", *who),
            ("HTTP POST", None, None, "refused", "401", None, None),
        ]
        for record in written():
            assert record["message"] == "audit"
            assert record["route"] == "/mcp"
            assert record["seconds"] >= 0
            assert datetime.fromisoformat(record["time"]).tzinfo is not None
            assert "arguments" not in record
        text = json.dumps(written())
        assert KEY not in text
        assert "two" not in text


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("lane", [True, False])
async def test_arguments_only_where_they_are_asked_for_and_no_large_ones(front: str, lane: bool) -> None:
    async with ServedMCP(tools()) as served, running_gateway() as running:
        written = lines(running)
        await running.proxy.apply(configured(served.url, arguments=True), {"key": KEY})
        running.proxy.lane.enabled = lane
        async with client(running.url, front, auth=KEY) as through:
            await through.call_tool("a_echo", {"text": "seen"})
            await through.call_tool("a_echo", {"text": "x" * MAX_ARGUMENTS})
        await eventually(lambda: len(written()) == 2)
        small, large = written()
        assert small["arguments"] == {"text": "seen"}
        assert list(large["arguments"]) == ["tooLarge"]


async def test_off_it_costs_nothing_and_a_swap_turns_it_on_and_off() -> None:
    async with ServedMCP(tools()) as served, running_gateway(make_config({"a": served.url})) as running:
        written = lines(running)
        async with client(running.url) as through:
            await through.call_tool("a_echo", {"text": "1"})
            assert running.proxy.lane._audit is None
            await running.proxy.apply(make_config({"a": served.url}, audit={}))
            await through.call_tool("a_echo", {"text": "2"})
            await running.proxy.apply(make_config({"a": served.url}))
            await through.call_tool("a_echo", {"text": "3"})
            await eventually(lambda: len(written()) == 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.new_database()


def durable(url: str, **audit: Any) -> Any:
    stores = {"database": {"file": "db"}, "encryptionKeys": [{"file": "key"}]}
    return make_config({"a": url}, stores=stores, audit={"stdout": False, "database": True, **audit})


async def records(url: str) -> list[AuditRecord]:
    async with Database(url) as database, database.transaction() as session:
        return list(await session.scalars(select(AuditRecord).order_by(AuditRecord.id)))


async def test_nothing_is_lost_when_the_proxy_ends(database_url: str) -> None:
    secrets = {"db": database_url, "key": "e" * 40}
    async with ServedMCP(tools()) as served:
        async with running_gateway(durable(served.url, arguments=True), secrets) as running:
            async with client(running.url) as through:
                for number in range(30):
                    await through.call_tool("a_echo", {"text": f"nul \0 {number}"})
        found = await records(database_url)
    assert [record.arguments["text"] for record in found if record.arguments] == [
        f"nul \N{REPLACEMENT CHARACTER} {number}" for number in range(30)
    ]
    assert {(r.server, r.method, r.decision, r.outcome) for r in found} == {("ns/a", "tools/call", "allowed", "ok")}


async def test_old_records_leave(database_url: str) -> None:
    secrets = {"db": database_url, "key": "e" * 40}
    now = datetime.now(UTC)
    async with Database(database_url) as database, database.transaction() as session:
        for hours in (0, 1, 3, 5):
            one = Record(
                (now - timedelta(hours=hours)).timestamp(), None, Users(), None, "/mcp", None, "m", None, "", "", 0
            )
            session.add(AuditRecord(**row(one)))
    async with ServedMCP(tools()) as served:
        async with running_gateway(durable(served.url, keepSeconds=7200), secrets):
            async with Database(database_url) as database:

                async def left() -> int:
                    async with database.transaction() as session:
                        return len(list(await session.scalars(select(AuditRecord.id))))

                async with asyncio.timeout(20):
                    while await left() != 2:  # noqa: ASYNC110 - another task removes them
                        await asyncio.sleep(0.02)


async def test_a_database_that_is_away_holds_up_no_call_and_what_it_misses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.01)
    monkeypatch.setattr(module, "AGAIN_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    folder = tmp_path / "not yet"
    secrets = {"db": f"sqlite:///{folder}/records.db", "key": "e" * 40}
    async with ServedMCP(tools()) as served, running_gateway(durable(served.url), secrets) as running:
        async with client(running.url) as through:
            for _ in range(5):
                await through.call_tool("a_echo", {"text": "x"})
            assert await running.metric("mcp_proxy_audit_dropped_total") == 2
            folder.mkdir()
            await eventually(lambda: any("were dropped" in record.getMessage() for record in caplog.records))
    assert len(await records(secrets["db"])) == 3


def test_what_is_dropped_by_a_slow_reader_is_counted() -> None:
    one = Record(
        0.0, Principal("a", "idp"), Users(issuer="idp"), None, "/r", "ns/s", "tools/call", "t" * 999, "allowed", "ok", 1
    )
    first, second = map(json.loads, encode([one], 7).splitlines())
    assert (first["principal"], first["user"], len(first["name"]), first["time"]) == (
        "idp/a",
        "a",
        256,
        "1970-01-01T00:00:00Z",
    )
    assert (second["message"], second["records"]) == ("audit records dropped", 7)
