"""Swaps and definitions that wait, as operators and others see them."""

from typing import Any

import pytest

from mcp_operator_proxy.inspector.models import Definitions, Swaps
from mcp_operator_proxy.swap.validate import ConfigRejected
from support.gateway import make_config
from support.waiting import Eventually
from unit.proxy.rest.backends import calculator

from .conftest import ALICE, AUTH, OPS, SECRETS, Inspect, ask

POLICIES = 'permit (principal == ApiKey::"alice", action, resource in Server::"ns/calc");'


async def test_swaps(inspecting: Inspect, eventually: Eventually) -> None:
    more: dict[str, Any] = {**AUTH, "authorization": {"policies": POLICIES}}
    async with (
        calculator() as served,
        calculator() as other,
        inspecting({"calc": served.url}, SECRETS, **more) as gateway,
    ):
        urls = {"calc": served.url, "other": other.url}
        await gateway.proxy.apply(make_config(urls, accessLog=False, **more), SECRETS)
        with pytest.raises(ConfigRejected):
            await gateway.proxy.apply(make_config(urls, revision="bad", **more), {**SECRETS, "bob": "short"})

        async def kept() -> bool:
            return len((await ask(gateway, "swaps", OPS))["items"]) == 3

        await eventually(kept)
        found = Swaps.model_validate(await ask(gateway, "swaps", OPS))
        rejected, second, first = found.items
        assert (rejected.revision, rejected.outcome, rejected.changes) == ("bad", "rejected", [])
        assert "bob" in (rejected.message or "")
        assert found.current == second.revision
        assert [(c.kind, c.name, c.change, c.fields) for c in second.changes] == [
            ("server", "ns/other", "added", []),
            ("route", "/mcp", "changed", ["servers"]),
            ("setting", "accessLog", "changed", []),
        ]
        assert first.total == 2
        assert (second.seconds or 0) > 0
        told = Swaps.model_validate(await ask(gateway, "swaps", ALICE))
        assert "bob" not in str(told)
        assert [(c.kind, c.name) for c in told.items[1].changes] == [("route", "/mcp")]


async def test_definitions_that_wait(inspecting: Inspect) -> None:
    pin = {"tool": "add", "digest": "sha256:" + "0" * 64, "definition": '{"name":"add"}'}
    more = {**AUTH, "server": {"pinning": "warn", "pins": [pin, {**pin, "tool": "old"}]}}
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **more) as gateway:
        found = {item.tool: item for item in Definitions.model_validate(await ask(gateway, "definitions", OPS)).items}
        assert {name: item.kind for name, item in found.items()} == {
            "add": "changed", "asks": "new", "divide": "new", "old": "gone", "refuses": "new", "slow": "new",
        }  # fmt: skip
        assert found["add"].approved == [pin["digest"]]
        assert "description" in found["add"].diff
        assert found["add"].how.startswith(
            f"kubectl annotate mcps calc -n ns mcp-operator.dev/approve={found['add'].digest}\n"
        )
        assert "nothing has to be done" in found["old"].how
        others = Definitions.model_validate(await ask(gateway, "definitions", ALICE))
        assert {item.tool for item in others.items} == {"add", "asks", "divide", "refuses", "slow"}
        assert (await ask(gateway, "me", ALICE))["features"]["pinning"]
    quarantining = {**more, "server": {"pinning": "enforce"}}
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **quarantining) as gateway:
        assert len((await ask(gateway, "definitions", OPS))["items"]) == 5
        assert (await ask(gateway, "definitions", ALICE))["items"] == []
