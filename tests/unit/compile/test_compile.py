"""Resources in, one configuration out.

golden/*.in.yaml → *.out.yaml: a selector · routes · conflicts · priorities · other namespaces · references · an empty proxy ·
all services of a gateway · what they refer to is missing · servers of users at a proxy that knows nobody
properties: no order of the inputs matters; equal content has an equal revision, other content another; what comes out is
what the proxy accepts; no secret stands in config.json
a Secret rotated · a server without address · one that the proxy would refuse · 2,000 servers
"""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, parse
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.lookup import DataId, DataObject
from mcp_operator.compile.proxy import revision, to_json
from mcp_operator.compile.servers import cluster_url
from mcp_operator_proxy.swap import validate
from support import golden, models, resources

USERS = resources.stdio("notes", "uvx", isolation="user", labels={"team": "core"})
FOLDER = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))
CORE = {"team": "core"}


def compiled(bodies: list[dict[str, Any]]) -> Compiled:
    parsed = [parse(models.stored(body), strict=True) for body in bodies if body["kind"].startswith("Mcp")]
    (proxy,) = [resource for resource in parsed if isinstance(resource, McpProxy)]
    labels = {
        body["metadata"]["name"]: body["metadata"].get("labels", {}) for body in bodies if body["kind"] == "Namespace"
    }
    return compile_proxy(
        proxy,
        routes=[resource for resource in parsed if isinstance(resource, McpRoute)],
        servers=[resource for resource in parsed if isinstance(resource, McpServer)],
        objects=models.objects_of(bodies),
        url_of=cluster_url,
        namespace_labels=labels.get(proxy.metadata.namespace, {}),
    )


def shown(outcome: Compiled) -> dict[str, Any]:
    def told(problem: Any) -> str:
        return f"{problem.reason}: {problem.message}"

    return {
        "config": outcome.config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "secrets": {file: value.decode() for file, value in sorted(outcome.secrets.items())},
        "left_out": {key: told(problem) for key, problem in sorted(outcome.left_out.items())},
        "proxy_problems": [told(problem) for problem in outcome.proxy_problems],
        "held": None if outcome.held is None else told(outcome.held),
        "places": [list(place) for place in outcome.places],
        "unshared": list(outcome.unshared),
        "told_to_winners": [f"{claim.reason}: {claim.told_to_winner()}" for claim in outcome.claims],
        "routes": {
            key: {
                "generation": outcome.route_generations[key],
                "path": outcome.route_paths[key],
                "servers": list(outcome.route_servers[key]),
                "problems": [told(problem) for problem in problems],
                "left_out": sorted(outcome.route_left_out[key]),
            }
            for key, problems in sorted(outcome.route_problems.items())
        },
    }


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    outcome = compiled(golden.documents(FOLDER / f"{case}.in.yaml"))
    golden.check(FOLDER / f"{case}.out.yaml", shown(outcome))


@pytest.mark.parametrize("case", CASES)
def test_the_proxy_accepts_it(case: str) -> None:
    outcome = compiled(golden.documents(FOLDER / f"{case}.in.yaml"))
    read = validate.parse(to_json(outcome.config).encode())
    assert read == outcome.config
    validate.resolve(read, {file: value.decode() for file, value in outcome.secrets.items()})


@pytest.mark.parametrize("case", CASES)
def test_no_secret_stands_in_the_config_or_a_message(case: str) -> None:
    bodies = golden.documents(FOLDER / f"{case}.in.yaml")
    outcome = compiled(bodies)
    told = [*outcome.left_out.values(), *outcome.proxy_problems, *itertools.chain(*outcome.route_problems.values())]
    said = to_json(outcome.config) + repr(outcome) + "".join(problem.message for problem in told)
    for body in bodies:
        for value in body.get("stringData", {}).values():
            assert not value.strip() or value.strip() not in said
    assert "PRIVATE KEY" not in said
    assert "a comment of its author" not in said


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_order_of_inputs_does_not_matter(case: str, data: st.DataObject) -> None:
    bodies = golden.documents(FOLDER / f"{case}.in.yaml")
    first, second = compiled(bodies), compiled(data.draw(st.permutations(bodies)))
    assert to_json(second.config) == to_json(first.config)
    assert list(second.secrets) == list(first.secrets)
    assert second == first


def _guarded(version: str, value: str = "Bearer one") -> Compiled:
    header = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}
    return compile_proxy(
        models.proxy(resources.proxy(selector=CORE)),
        routes=[],
        servers=[models.server(resources.remote("guarded", "https://x/mcp", labels=CORE, headers=[header]))],
        objects=dict([models.secret("token", version, header=value)]),
        url_of=cluster_url,
    )


def test_a_rotated_secret_is_another_config() -> None:
    before, after = _guarded("7"), _guarded("8", "Bearer two")
    assert before.secrets == {"team-a.guarded.header-0.7": b"Bearer one"}
    assert after.secrets == {"team-a.guarded.header-0.8": b"Bearer two"}
    assert before.config.revision != after.config.revision
    assert _guarded("7") == before


def test_the_revision_names_the_content() -> None:
    one = _guarded("7").config
    assert revision(one) == one.revision == revision(one.model_copy(update={"revision": "other"}))
    assert revision(one.model_copy(update={"allowed_hosts": ("a",)})) != one.revision


def test_the_revision_stays_while_the_content_does() -> None:
    """Status, annotations and resourceVersions of resources are no content; nor are servers that are not chosen."""
    body = resources.remote("one", "https://one/mcp", labels=CORE)
    noise = resources.remote("noise", "https://noise/mcp")
    touched = {"annotations": {"a": "b"}, "resourceVersion": "99", "generation": 7}

    def outcome(servers: list[McpServer]) -> Compiled:
        proxy = models.proxy(resources.proxy(selector=CORE))
        return compile_proxy(proxy, routes=[], servers=servers, objects={}, url_of=cluster_url)

    first = outcome([models.server(body)])
    assert outcome([models.server(body, **touched), models.server(noise)]) == first


def test_a_server_without_address_is_left_out() -> None:
    proxy, servers = models.proxy(resources.proxy(selector=CORE)), ["near", "far"]
    outcome = compile_proxy(
        proxy,
        routes=[],
        servers=[models.server(resources.stdio(name, "uvx", labels=CORE)) for name in servers],
        objects={},
        url_of=lambda server: None if server.metadata.name == "near" else "http://127.0.0.1:9/mcp",
    )
    assert outcome.left_out["team-a/near"].reason == "ServerInvalid"
    assert [server.id for server in outcome.config.servers] == ["team-a/far"]


def test_what_the_proxy_would_refuse_is_left_out_alone() -> None:
    """2,000 quotes pass the schema, and are three times as long when they are escaped."""
    servers = [
        models.server(resources.remote("long", "http://long.example.com/" + '"' * 2000, labels=CORE)),
        models.server(resources.remote("good", "http://good.example.com/mcp", labels=CORE)),
    ]
    proxy = models.proxy(resources.proxy(selector=CORE))
    outcome = compile_proxy(proxy, routes=[], servers=servers, objects={}, url_of=cluster_url)
    assert outcome.left_out["team-a/long"].reason == "InvalidValue"
    assert "2048" in outcome.left_out["team-a/long"].message
    assert [server.id for server in validate.parse(to_json(outcome.config).encode()).servers] == ["team-a/good"]


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("http://search:8080/mcp", "http://search.team-a.svc:8080/mcp"),
        ("https://search", "https://search.team-a.svc"),
        ("http://localhost:8080/mcp", "http://localhost:8080/mcp"),
        ("http://localhost-2/mcp", "http://localhost-2.team-a.svc/mcp"),
        ("http://search.tools/mcp", "http://search.tools/mcp"),
        ("http://10.0.0.1/mcp", "http://10.0.0.1/mcp"),
        ("http://[fd00::1]/mcp", "http://[fd00::1]/mcp"),
    ],
)
def test_a_host_of_one_label_is_a_service_of_the_servers_namespace(url: str, reached: str) -> None:
    assert cluster_url(models.server(resources.remote("search", url, labels=CORE))) == reached


def test_two_thousand_servers(record_property: Any) -> None:
    """Half are chosen by the selector; the others by name, each by a route of its own, at a path of its own."""
    servers = [
        models.server(
            resources.remote(f"s{number}", f"http://s{number}/mcp", labels=CORE if number % 2 else None), age=number
        )
        for number in range(2000)
    ]
    routes = [
        models.route(resources.route(f"r{number}", {"name": f"s{number}"}, path=f"/r{number}"), age=number)
        for number in range(0, 2000, 2)
    ]
    proxy = models.proxy(resources.proxy(selector=CORE))
    started = time.perf_counter()
    outcome = compile_proxy(proxy, routes=routes, servers=servers, objects={}, url_of=cluster_url)
    seconds = time.perf_counter() - started
    text = to_json(outcome.config)
    record_property("seconds", seconds)
    print(f"2,000 servers and 1,000 routes compiled in {seconds:.3f} s to {len(text) / 1024:.0f} KiB")
    assert len(outcome.config.servers) == 2000
    assert len(outcome.config.routes) == 1001
    assert len(text) < 1_000_000, "what a ConfigMap holds"


def test_a_server_with_users_is_for_proxies_that_know_them() -> None:
    def compiled_for(access: dict[str, Any] | None, *objects: tuple[DataId, DataObject]) -> Compiled:
        said = {} if access is None else {"authentication": access}
        return compile_proxy(
            models.proxy(resources.proxy(selector=CORE, **said)),
            routes=[],
            servers=[models.server(USERS)],
            objects=dict(objects),
            url_of=cluster_url,
        )

    keys = {"apiKeys": [{"name": "ann", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "ann"}}}]}
    held = models.secret("notes-server-identity", "9", key="k" * 32)
    assert compiled_for(None, held).left_out["team-a/notes"].reason == "UnsupportedValue"
    assert compiled_for(keys).left_out["team-a/notes"].reason == "ServerInvalid"
    outcome = compiled_for(keys, held)
    assert not outcome.left_out
    (server,) = outcome.config.servers
    assert server.identity
    assert outcome.secrets[server.identity.file] == b"k" * 32
    assert "kkkk" not in to_json(outcome.config)
