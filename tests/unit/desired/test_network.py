"""The NetworkPolicy of a proxy.

a table: each kind of server → its rule out · equal sets, equal rules · hosted servers by pod, in one rule a port
in: the exposed port to all or to some, the internal ports to the proxy's own pods · what else may be reached · switched off
"""

from typing import Any

import pytest

from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.desired.network import network_policy
from support import models, resources

Body = dict[str, Any]
OWN = {"podSelector": {"matchLabels": {"mcp-operator.dev/proxy": "tools"}}}


def compiled(*servers: Body) -> Compiled:
    found = [models.server(body) for body in servers]
    proxy = models.proxy(resources.proxy(selector={}))
    return compile_proxy(proxy, routes=[], servers=found, objects={}, url_of=cluster_url)


def policy(*servers: Body, operator: str | None = None, **spec: Any) -> Body:
    body = network_policy(models.proxy(resources.proxy(**spec)), compiled(*servers), operator_namespace=operator)
    assert body is not None
    return body["spec"]


def rules(*servers: Body, **spec: Any) -> list[Body]:
    """What is let out beside DNS and the replicas of the proxy itself."""
    return policy(*servers, **spec)["egress"][2:]


def _tcp(*ports: int) -> list[Body]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _namespace(name: str) -> Body:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


SERVERS = [
    ("a name outside", "https://docs.example.com/mcp", [{"ports": _tcp(443)}]),
    ("a port of its own", "http://docs.example.com:8443/mcp", [{"ports": _tcp(8443)}]),
    ("an address", "http://192.0.2.7:8080/mcp", [{"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": _tcp(8080)}]),
    ("an address of version 6", "https://[2001:db8::7]/mcp",
     [{"to": [{"ipBlock": {"cidr": "2001:db8::7/128"}}], "ports": _tcp(443)}]),
    ("a Service of this namespace", "http://search:80/mcp", [{"to": [_namespace("team-a")]}]),
    ("a Service, with its namespace", "http://search.team-b.svc:80/mcp", [{"to": [_namespace("team-b")]}]),
    ("a Service, in full", "http://search.team-b.svc.cluster.local./mcp", [{"to": [_namespace("team-b")]}]),
    ("a pod behind a headless Service", "http://search-0.search.team-b.svc/mcp", [{"to": [_namespace("team-b")]}]),
    ("a Service or a name outside", "http://search.team-b:81/mcp", [{"to": [_namespace("team-b")]}, {"ports": _tcp(81)}]),
]  # fmt: skip


@pytest.mark.parametrize(("url", "expected"), [case[1:] for case in SERVERS], ids=[case[0] for case in SERVERS])
def test_a_remote_server(url: str, expected: list[Body]) -> None:
    assert rules(resources.remote("far", url)) == expected


def test_hosted_servers_are_chosen_by_their_pods() -> None:
    found = rules(
        resources.container("near", "near:1", labels={}),
        resources.stdio("time", "uvx", "mcp-server-time"),
        {**resources.container("odd", "odd:1"), "spec": {"container": {"image": "odd:1", "port": 9000}}},
    )
    chosen = {"key": "mcp-operator.dev/server", "operator": "In"}
    assert found == [
        {"to": [{"podSelector": {"matchExpressions": [{**chosen, "values": ["near", "time"]}]}}], "ports": _tcp(8080)},
        {"to": [{"podSelector": {"matchExpressions": [{**chosen, "values": ["odd"]}]}}], "ports": _tcp(9000)},
    ]


def test_nothing_is_said_twice_and_order_means_nothing() -> None:
    one = [resources.remote(name, f"https://{name}.example.com/mcp") for name in ("a", "b", "c")]
    two = [resources.remote("d", "http://d.example.com:81/mcp"), *reversed(one)]
    assert rules(*one) == [{"ports": _tcp(443)}]
    assert rules(*two) == rules(*reversed(two)) == [{"ports": _tcp(81, 443)}]


def test_without_servers_only_names_and_replicas_are_reached() -> None:
    spec = policy()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    names, own = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in names["ports"]} >= {("UDP", 53), ("TCP", 53)}
    assert "to" not in names
    assert own == {"to": [OWN], "ports": _tcp(8081)}


def test_in_comes_what_is_exposed() -> None:
    exposed, internal = policy(workers=3)["ingress"]
    assert exposed == {"ports": _tcp(8080)}
    assert internal == {"from": [OWN], "ports": [{"protocol": "TCP", "port": 8081, "endPort": 8083}]}


def test_some_may_come_in_and_the_operator() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "agent"}}}
    exposed = policy(operator="mcp-system", networkPolicy={"allowFrom": [peer]})["ingress"][0]
    assert exposed["from"] == [peer, _namespace("mcp-system")]
    outside = policy(networkPolicy={"allowFrom": [{"namespaceSelector": {}}]})["ingress"][0]
    assert outside["from"] == [{"namespaceSelector": {}}], "an empty selector means all, and stays"


def test_more_may_be_reached() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    pods = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["squid"]}]}}
    given = {"allowTo": [{**block, "ports": [3128]}, pods]}
    assert rules(networkPolicy=given) == [{"to": [block], "ports": _tcp(3128)}, {"to": [pods]}]


def test_switched_off() -> None:
    assert network_policy(models.proxy(resources.proxy(networkPolicy={"enabled": False})), compiled()) is None


def test_what_its_services_need() -> None:
    """Stores by what their URLs say, issuers, webhooks and endpoints; whom users sign in at is not known, so it may be anywhere."""
    stores = {
        "redis": {"secretKeyRef": {"name": "stores", "key": "redis"}},
        "database": {"secretKeyRef": {"name": "stores", "key": "database"}},
        "encryptionKeys": [{"secretKeyRef": {"name": "stores", "key": "key"}}],
    }
    issuer = {"name": "a", "issuer": "https://login.example.com:9443", "audiences": ["b"]}
    hook = {"webhook": "http://hooks.ops.svc:81/x"}
    proxy = models.proxy(resources.proxy(selector={}, stores=stores, authentication={"jwt": [issuer]}, notices=hook))
    urls = {"redis": "rediss://10.9.8.7:6380", "database": "postgresql://u:p@db/x", "key": "k" * 32}
    signed = resources.remote("signed", "https://signed.example.com/mcp", credential={"authorizationCode": {}})
    outcome = compile_proxy(
        proxy,
        routes=[],
        servers=[models.server(signed)],
        objects=dict([models.secret("stores", **urls)]),
        url_of=cluster_url,
    )
    body = network_policy(proxy, outcome)
    assert body is not None
    assert body["spec"]["egress"][2:] == [
        {"to": [_namespace("ops")]},
        {"to": [_namespace("team-a")]},
        {"to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}], "ports": _tcp(6380)},
        {"ports": _tcp(443, 9443)},
    ]
