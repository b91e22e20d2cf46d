"""`plan` and `render` of a proxy with every service of a gateway: no secret is shown, a world at rest plans nothing.

everything is new · at rest · a key that is renewed · a store that is missing, in the cluster and in files alone
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api.resources import McpProxy, parse
from mcp_operator.cli.render import main as render
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.events import EventRecorder
from support import golden, models
from support.apiserver import ApiServer
from support.bench import Bench

SOURCE = Path(__file__).parents[1] / "compile" / "golden" / "gateway.in.yaml"
BODIES = golden.documents(SOURCE)
IMAGES = ("--proxy-image", "proxy:1", "--runner-image", "runner:1")
NS = ("-n", "team-a")
SERVICES = (
    "authentication", "authorization", "rate_limits", "request_limits", "rest", "stores", "users", "providers", "refresh",
    "search", "audit", "notices", "tracing",
)  # fmt: skip


def values() -> set[str]:
    """All that stands in the Secrets."""
    return {
        value
        for body in BODIES
        if body["kind"] == "Secret"
        for value in {**body.get("stringData", {}), **body.get("data", {})}.values()
    }


def shows_nothing(text: str) -> bool:
    return not any(value in text for value in values())


@pytest.fixture
async def at_rest(api: ApiServer) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient.connect())
        bench = Bench(api, kube, await stack.enter_async_context(EventRecorder(kube, "mcp-operator")))
        bench.apply(*BODIES)
        await bench.drain()
        yield bench
        await bench.prober.aclose()


def test_every_service_is_in_it() -> None:
    (body,) = [body for body in BODIES if body["kind"] == "McpProxy"]
    proxy = parse(models.stored(body), strict=True)
    assert isinstance(proxy, McpProxy)
    assert set(SERVICES) <= proxy.spec.model_fields_set
    assert len(values()) > 5


async def test_everything_is_new(api: ApiServer, run: Any) -> None:
    code, out, err = await run("plan", "-f", SOURCE, *NS, *IMAGES)
    assert code == 1, err
    for service in ("rateLimits", "stores", "providers", "authorization", "search", "notices", "tracing"):
        assert f'+      "{service}"' in out or f'"{service}"' in out, service
    assert shows_nothing(out + err)


async def test_a_world_at_rest_needs_no_change(at_rest: Bench, run: Any) -> None:
    for files in ((), ("-f", SOURCE)):
        code, out, err = await run("plan", *files, *NS, *IMAGES)
        assert (code, out) == (0, ""), out + err
        assert "nothing would change" in err
        assert shows_nothing(err)


async def test_without_a_store_only_the_rest_would_change(at_rest: Bench, run: Any, tmp_path: Path) -> None:
    (proxy,) = [body for body in BODIES if body["kind"] == "McpProxy"]
    name = proxy["spec"]["stores"]["redis"]["secretKeyRef"]["name"]
    at_rest.api.kubectl_delete("Secret", name)
    await at_rest.drain()
    limits = [{"name": "fewer", "limit": "1/minute"}]
    path = tmp_path / "proxy.yaml"
    path.write_text(yaml.safe_dump({**proxy, "spec": {**proxy["spec"], "rateLimits": limits}}))
    code, out, err = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 1, err
    changed = "\n".join(line for line in out.splitlines() if line[:1] in "+-")
    assert '"fewer"' in changed
    assert '"stores"' not in changed
    assert "spec.stores.redis" in err
    assert shows_nothing(out + err)


def test_render_masks_all_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert render(["-f", str(SOURCE), *NS, *IMAGES]) == 0
    told = capsys.readouterr()
    assert shows_nothing(told.out + told.err)
    kinds = [body["kind"] for body in yaml.safe_load_all(told.out)]
    assert {"Secret", "ConfigMap", "Deployment", "NetworkPolicy"} <= set(kinds)


def test_render_without_a_store_makes_no_proxy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As the operator starts none."""
    (proxy,) = [body for body in BODIES if body["kind"] == "McpProxy"]
    name = proxy["spec"]["stores"]["redis"]["secretKeyRef"]["name"]
    kept = [body for body in BODIES if not (body["kind"] == "Secret" and body["metadata"]["name"] == name)]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(kept))
    render(["-f", str(tmp_path / "all.yaml"), *NS, *IMAGES])
    told = capsys.readouterr()
    made = [body["metadata"]["name"] for body in yaml.safe_load_all(told.out) if body["kind"] == "Deployment"]
    assert not any(each.endswith("-proxy") for each in made)
    assert "spec.stores.redis" in told.err
    assert "McpProxy team-a/tools: it is not printed" in told.err
    assert shows_nothing(told.out + told.err)
