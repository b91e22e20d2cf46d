"""A configuration in ConfigMaps: order of writing, names, what is read of live ones; the volume."""

import json
import random
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.proxy import to_json
from mcp_operator.compile.servers import cluster_url
from mcp_operator.desired.configuration import config_maps, config_text, config_volume, part_names
from mcp_operator_proxy.configfiles import INDEX_FILE, PART_BYTES, ConfigTooLarge
from support import models, resources

Body = dict[str, Any]


def compiled(proxy: McpProxy, described: int = 0, *, seed: int = 0) -> Compiled:
    """With so many overrides that hardly compress."""
    draw = random.Random(seed)
    overrides = [{"name": f"t{n}", "description": draw.randbytes(900).hex()} for n in range(described)]
    routes = []
    for start in range(0, described, 100):
        tools = {"overrides": overrides[start : start + 100]}
        body = resources.route(f"r{start}", {"name": "far", "tools": tools}, path=f"/r{start}/mcp")
        routes.append(models.route(body))
    servers = [models.server(resources.remote("far", "https://far/mcp"))]
    return compile_proxy(proxy, routes=routes, servers=servers, objects={}, url_of=cluster_url)


def proxy() -> McpProxy:
    return models.proxy(resources.proxy("tools"))


def live(bodies: list[Body]) -> dict[str, Body]:
    return {body["metadata"]["name"]: body for body in bodies}


def test_a_small_one_is_text_in_one() -> None:
    (body,) = config_maps(proxy(), compiled(proxy()), "tools-proxy-config")
    assert body["metadata"]["name"] == "tools-proxy-config"
    assert (
        json.loads(body["data"]["config.json"])["revision"] == body["metadata"]["annotations"][meta.ANNOTATION_REVISION]
    )


def test_a_large_one_is_in_several_and_the_first_is_written_last() -> None:
    whole = compiled(proxy(), 1500)
    bodies = config_maps(proxy(), whole, "tools-proxy-config")
    assert [body["metadata"]["name"] for body in bodies] == ["tools-proxy-config-1", "tools-proxy-config"]
    assert INDEX_FILE in bodies[-1]["binaryData"]
    assert {body["metadata"]["annotations"][meta.ANNOTATION_REVISION] for body in bodies} == {whole.config.revision}
    assert all(body["metadata"]["ownerReferences"] for body in bodies)
    assert config_text(live(bodies)) == to_json(whole.config).encode()
    assert config_maps(proxy(), whole, "tools-proxy-config") == bodies


def test_live_ones_that_are_not_whole_hold_nothing() -> None:
    old = config_maps(proxy(), compiled(proxy(), 1500, seed=1), "x")
    new = config_maps(proxy(), compiled(proxy(), 1500, seed=2), "x")
    assert config_text({}) is None
    assert config_text(live(old[1:])) is None
    assert config_text(live([new[0], old[1]])) is None
    assert config_text({"x": {"binaryData": {"config.json.gz": "?"}}}) is None


def test_the_volume_is_the_same_for_every_configuration() -> None:
    """A configuration that outgrows its ConfigMap rolls no pod; what is not there is not waited for."""
    sources = config_volume("c", "s")["projected"]["sources"]
    maps = [source["configMap"] for source in sources if "configMap" in source]
    assert [found["name"] for found in maps] == part_names("c") == ["c", "c-1", "c-2", "c-3"]
    assert [found.get("optional", False) for found in maps] == [False, True, True, True]
    assert {"secret": {"name": "s"}} in sources
    (item,) = next(source["downwardAPI"]["items"] for source in sources if "downwardAPI" in source)
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{meta.ANNOTATION_REVISION}']"


def test_what_is_too_large() -> None:
    with pytest.raises(ConfigTooLarge, match=f"the limit is {4 * PART_BYTES / 2**20:.1f} MiB compressed"):
        config_maps(proxy(), compiled(proxy(), 6000), "tools-proxy-config")
