"""Who may call a proxy, and its services: what the golden files do not show.

fail closed: whatever is missing, nobody gets in without a key, and nothing is permitted that a missing policy may forbid
rotation: another version is another file; a new caller in a whole Secret needs no edit · references name all that is read
the operator's own key · a held configuration · places: only host and port of what is secret · what several processes do not share
"""

import itertools
from typing import Any

import pytest

from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.access import DENY_ALL, NOBODYS_KEY, OPERATOR_KEY_FILE
from mcp_operator.compile.lookup import DataObjects
from mcp_operator.compile.references import references
from mcp_operator.compile.servers import cluster_url
from mcp_operator_proxy.authz.settings import policy_of
from mcp_operator_proxy.swap.validate import ConfigRejected, authenticator
from support import models, resources

Body = dict[str, Any]
APP_KEY, ANNS_KEY, NEW_KEY = "key-of-the-application", "key-of-ann-0123456789", "key-of-ann-renewed-0123"
OPERATORS_KEY = b"o" * 64
ACCESS = {
    "authentication": {
        "apiKeys": [{"name": "app", "valueFrom": {"secretKeyRef": {"name": "app", "key": "token"}}}],
        "apiKeySecrets": [{"name": "team"}],
    },
    "authorization": {
        "policies": [
            {"inline": "permit (principal, action, resource);"},
            {"configMapKeyRef": {"name": "policies", "key": "forbid"}},
        ]
    },
}
TRACING: Body = {
    "endpoint": "http://otel.mon.svc:4318",
    "samplingRatio": "0.5",
    "headers": [
        {"name": "X-Tenant", "value": "a"},
        {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "otel", "key": "k"}}},
    ],
}
STORES = {
    "redis": {"secretKeyRef": {"name": "stores", "key": "redis"}},
    "database": {"secretKeyRef": {"name": "stores", "key": "database"}},
    "encryptionKeys": [{"secretKeyRef": {"name": "stores", "key": "key"}}],
}
URLS = {"redis": "redis://:pass@redis:6379/0", "database": "postgresql://u:pass@db.data:5433/x", "key": "k" * 32}


def compiled(objects: DataObjects, key: bytes | None = OPERATORS_KEY, *servers: Body, **spec: Any) -> Compiled:
    return compile_proxy(
        models.proxy(resources.proxy(selector={}, **spec)),
        routes=[],
        servers=[models.server(body) for body in servers],
        objects=objects,
        url_of=cluster_url,
        operator_key=key,
    )


def everything() -> dict[Any, Any]:
    found = dict([models.secret("app", token=APP_KEY), models.secret("team", ann=ANNS_KEY)])
    (_, policies) = models.secret("policies", forbid="forbid (principal, action, resource);")
    return {**found, ("ConfigMap", models.NAMESPACE, "policies"): policies}


def lets_in(outcome: Compiled, key: str) -> str | None:
    """Whom the proxy takes a caller with that key for."""
    keys = authenticator(outcome.config, {file: value.decode() for file, value in outcome.secrets.items()})
    assert keys is not None, "it is open"
    caller = keys.authenticate(f"Bearer {key}".encode(), None)
    return caller.name if caller else None


ALL = sorted(everything())
SUBSETS = [there for size in range(len(ALL) + 1) for there in itertools.combinations(ALL, size)]


@pytest.mark.parametrize("there", SUBSETS, ids=lambda there: "+".join(name for _, _, name in there) or "nothing")
@pytest.mark.parametrize("own", [OPERATORS_KEY, None], ids=["with the operator's key", "without"])
def test_whatever_is_missing_it_stays_closed(there: tuple[Any, ...], own: bytes | None) -> None:
    outcome = compiled({key: found for key, found in everything().items() if key in there}, own, **ACCESS)
    names = {name for _, _, name in there}
    assert lets_in(outcome, "") is None
    assert lets_in(outcome, NOBODYS_KEY.decode()) is None
    assert lets_in(outcome, APP_KEY) == ("app" if "app" in names else None)
    assert lets_in(outcome, ANNS_KEY) == ("ann" if "team" in names else None)
    assert outcome.config.authorization is not None
    assert (outcome.config.authorization.policies == DENY_ALL) == ("policies" not in names)
    told = "".join(problem.message for problem in outcome.proxy_problems)
    for name, where in {"app": "apiKeys[app]", "team": "apiKeySecrets[team]", "policies": "policies[1]"}.items():
        assert (where in told) == (name not in names)
    assert all(problem.reason == "RefNotFound" for problem in outcome.proxy_problems)


PERMIT = "permit (principal, action, resource);"
ONE, OTHER = "spec.authorization.policies[0]", "spec.authorization.policies[1]"


@pytest.mark.parametrize(
    ("inline", "kept", "problems"),
    [
        (PERMIT, PERMIT, []),
        (PERMIT, "// none yet", []),
        ("permit (principal, action,", "resource);", []),  # good together
        ("nonsense;", PERMIT, [f"{ONE}: the policy that begins in line 1: "]),
        (PERMIT, f"{PERMIT}\n\nforbid (principal);", [f"{OTHER}: the policy that begins in line 3: "]),
        ("permit;", "forbid;", [f"{ONE}: the policy that begins in line 1: ", f"{OTHER}: the policy that begins in "]),
        ("permit (principal == ?principal, action, resource);", PERMIT, [f"{ONE}: line 1: a template "]),
        ('forbid (principal, action, resource) when { "', '" == "" };', []),
    ],
)
def test_policies_that_can_not_be_read_are_told_with_their_place(inline: str, kept: str, problems: list[str]) -> None:
    """They are given to the proxy all the same, which refuses them and keeps what it has."""
    (_, held) = models.secret("policies", forbid=kept)
    sources = [{"inline": inline}, {"configMapKeyRef": {"name": "policies", "key": "forbid"}}]
    objects = {("ConfigMap", models.NAMESPACE, "policies"): held}
    outcome = compiled(objects, authorization={"policies": sources})  # type: ignore[arg-type]
    found = [(problem.reason, problem.message) for problem in outcome.proxy_problems]
    assert all(reason == "InvalidValue" for reason, _ in found)
    assert [message.startswith(start) for (_, message), start in zip(found, problems, strict=True)] == [
        True for _ in problems
    ]
    assert outcome.config.authorization is not None
    assert outcome.config.authorization.policies == f"{inline}\n{kept}"
    assert outcome.held is None
    try:
        policy_of(outcome.config)
    except ConfigRejected:
        assert problems, "the proxy refuses what was not told"
    else:
        assert not problems, "the proxy takes what was told"


def test_a_policy_that_is_missing_is_told_alone() -> None:
    sources = [{"inline": "nonsense"}, {"configMapKeyRef": {"name": "policies", "key": "forbid"}}]
    outcome = compiled({}, authorization={"policies": sources})
    assert [problem.reason for problem in outcome.proxy_problems] == ["RefNotFound"]
    assert outcome.config.authorization is not None
    assert outcome.config.authorization.policies == DENY_ALL


def test_the_operator_has_a_key_of_its_own() -> None:
    outcome = compiled(everything(), **ACCESS)
    assert lets_in(outcome, OPERATORS_KEY.decode()) == "mcp-operator"
    assert outcome.secrets[OPERATOR_KEY_FILE] == OPERATORS_KEY
    assert OPERATOR_KEY_FILE not in compiled(everything()).secrets


def test_a_key_is_renewed_and_a_caller_comes_without_an_edit() -> None:
    before = compiled(everything(), **ACCESS)
    renewed = compiled(
        {**everything(), **dict([models.secret("team", "8", ann=NEW_KEY, bob="key-of-bob-0123456")])}, **ACCESS
    )
    assert before.config.revision != renewed.config.revision
    kept = before.secrets.keys() & renewed.secrets.keys() - {OPERATOR_KEY_FILE}
    assert [before.secrets[file] for file in kept] == [APP_KEY.encode()]
    assert (lets_in(renewed, NEW_KEY), lets_in(renewed, "key-of-bob-0123456")) == ("ann", "bob")
    assert lets_in(renewed, ANNS_KEY) is None
    assert compiled(everything(), **ACCESS) == before


def test_all_that_is_read_is_referred_to() -> None:
    """What is not among the references is neither fetched nor watched."""
    spec: Body = {
        **ACCESS,
        "stores": STORES,
        "providers": [
            {
                "name": "g",
                "kind": "Google",
                "clientId": "x",
                "clientSecret": {"secretKeyRef": {"name": "g", "key": "s"}},
                "caBundle": {"configMapKeyRef": {"name": "ca-of-g", "key": "x"}},
            }
        ],
        "search": {
            "embedder": "Endpoint",
            "endpoint": {"url": "https://a", "model": "m", "key": {"secretKeyRef": {"name": "ai", "key": "k"}}},
            "milvus": {"secretKeyRef": {"name": "milvus", "key": "uri"}},
        },
        "notices": {"webhook": "https://a", "signingKey": {"secretKeyRef": {"name": "hook", "key": "k"}}},
        "tracing": TRACING,
    }
    issuer = {
        "name": "a",
        "issuer": "https://a",
        "audiences": ["b"],
        "caBundle": {"configMapKeyRef": {"name": "ca", "key": "x"}},
    }
    spec["authentication"] = {**ACCESS["authentication"], "jwt": [issuer]}
    named = {(kind, name) for kind, _, name in references(models.proxy(resources.proxy(**spec)))}
    assert named == {
        ("ConfigMap", "ca"),
        ("ConfigMap", "ca-of-g"),
        ("ConfigMap", "policies"),
        *(("Secret", name) for name in ("ai", "app", "g", "hook", "milvus", "otel", "stores", "team")),
    }
    missing = "".join(problem.message for problem in compiled({}, **spec).proxy_problems)
    assert all(f"{kind} team-a/{name} is not found" in missing for kind, name in named)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("Bearer x", None),
        ("Bearer x\n", None),
        ("two\nlines", "is no value for the header Authorization"),
        ("", "is empty, or no text"),
        (None, "Secret team-a/otel is not found"),
    ],
)
def test_traces_go_nowhere_without_their_header(value: str | None, problem: str | None) -> None:
    objects = {} if value is None else dict([models.secret("otel", k=value)])
    found = compiled(objects, tracing=TRACING)
    traced = found.config.tracing
    assert (traced is None) == (problem is not None)
    if problem is not None:
        (told,) = found.proxy_problems
        assert told.message.startswith("spec.tracing.headers[1]: ")
        assert problem in told.message
    if traced is not None:
        assert (traced.service_name, traced.sample_ratio, len(found.secrets)) == ("tools", 0.5, 1)
        assert found.places == (("otel.mon.svc", 4318),)
        assert "Bearer" not in repr(found)


def test_without_its_stores_the_configuration_is_held() -> None:
    whole = compiled(dict([models.secret("stores", **URLS)]), stores=STORES, rest={})
    assert whole.held is None
    assert whole.places == (("db.data", 5433), ("redis", 6379))
    assert whole.unshared == ()
    assert ":pass@" not in repr(whole)
    for wrong in (
        {},
        {"redis": "http://redis"},
        {"redis": "redis://"},
        {"database": "mysql://u@db/x"},
        {"key": "short"},
    ):
        objects = dict([models.secret("stores", **{**URLS, **wrong})]) if wrong else {}
        held = compiled(objects, stores=STORES, rest={}).held
        assert held is not None
        assert "spec.stores." in held.message


@pytest.mark.parametrize(
    ("spec", "server", "expected"),
    [
        ({}, {}, []),
        ({"rest": {}}, {}, ["sessions of users"]),
        ({"rateLimits": [{"name": "a", "limit": "1/second"}]}, {}, ["counts of rate limits"]),
        ({"rest": {}}, {"perUser": True}, ["sessions of users"]),
        ({"rest": {}}, {"credential": {"authorizationCode": {}}}, ["sessions of users", "credentials of users"]),
    ],
)
def test_what_several_processes_do_not_share(spec: Body, server: Body, expected: list[str]) -> None:
    outcome = compiled({}, None, resources.remote("docs", "https://docs/mcp", **server), **spec)
    assert [told.partition(" (")[0] for told in outcome.unshared] == expected


def test_a_database_in_a_file_is_shared_by_nobody() -> None:
    objects = dict([models.secret("stores", **{**URLS, "database": "sqlite:////tmp/records.db"})])
    outcome = compiled(objects, stores=STORES, audit={"database": True})
    assert [told.partition(" (")[0] for told in outcome.unshared] == ["records of calls"]
    assert outcome.places == (("redis", 6379),)


def test_rest_gives_way_to_the_path_of_the_proxy() -> None:
    outcome = compiled({}, path="/tools/mcp", rest={})
    assert outcome.config.rest is None
    assert "spec.rest" in outcome.proxy_problems[0].message
    assert compiled({}, path="/tools/mcp", rest={"prefix": "/api"}).config.rest is not None


def test_the_inspector_is_off_unless_it_is_switched_on() -> None:
    assert compiled({}).config.inspector is None
    assert compiled({}, inspector={"operators": ["ops"]}).config.inspector is None
    found = compiled({}, inspector={"enabled": True, "operators": ["ops"], "traffic": False}).config.inspector
    assert found is not None
    assert (found.operators, found.traffic) == (("ops",), False)


@pytest.mark.parametrize("spec", [{"path": "/ui/mcp"}, {"rest": {"prefix": "/ui"}}], ids=["path", "rest"])
def test_the_inspector_gives_way_to_what_has_its_place(spec: dict[str, Any]) -> None:
    outcome = compiled({}, inspector={"enabled": True}, **spec)
    assert outcome.config.inspector is None
    assert "spec.inspector" in outcome.proxy_problems[0].message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"ingress": {"host": "a.example.com"}}, ["https://a.example.com", "http://a.example.com"]),
        ({"ingress": {"host": "*.example.com"}}, []),
        ({"publicUrl": "https://a.example.com/x"}, ["https://a.example.com"]),
        ({"allowedOrigins": ["https://b.example.com"]}, ["https://b.example.com"]),
    ],
    ids=["none", "ingress", "wildcard", "public", "listed"],
)
def test_pages_of_the_inspector_may_call_the_proxy_that_serves_them(spec: dict[str, Any], expected: list[str]) -> None:
    assert list(compiled({}, inspector={"enabled": True}, **spec).config.allowed_origins) == expected
    assert list(compiled({}, **spec).config.allowed_origins) == spec.get("allowedOrigins", [])
