"""What a proxy is given while its stores can't be had: who may call is always as it shall be.

table: what changes · what comes into use · what stays — with the stores that it has, and without any
nothing to keep · a file of it is gone · again and again the same · no secret is shown · what the proxy accepts
"""

from typing import Any

import pytest

from mcp_operator.compile import Compiled, with_previous
from mcp_operator_proxy import config
from mcp_operator_proxy.secretfiles import secret_files
from mcp_operator_proxy.swap.validate import authenticator
from support import models, resources

from .test_gateway import APP_KEY, STORES, URLS, Body, compiled, lets_in

TEAM = {"authentication": {"apiKeySecrets": [{"name": "team"}]}}
BOB = "key-of-bob-0123456789"
REMOTE = resources.remote("docs", "https://docs/mcp")
NEW = resources.remote("more", "https://more/mcp")
STRICTER: Body = {
    "authorization": {"policies": [{"inline": "forbid (principal, action, resource);"}]},
    "rateLimits": [{"name": "a", "limit": "1/second"}],
    "requestLimits": {"maxDepth": 9},
    "allowedHosts": ["tools.example.com"],
    "allowedOrigins": ["https://app.example.com"],
}


def objects(*, stores: bool, **team: str) -> dict[Any, Any]:
    known = dict([models.secret("team", "8", **team)])
    return {**known, **(dict([models.secret("stores", **URLS)]) if stores else {})}


def given(before: Compiled, after: Compiled, *, files: Any = None, **spec: Any) -> Compiled:
    proxy = models.proxy(resources.proxy(selector={}, **spec))
    return with_previous(proxy, after, before.config, before.secrets if files is None else files)


def before(*servers: Body, stores: bool = True, **spec: Any) -> Compiled:
    whole = {**TEAM, **spec, **({"stores": STORES} if stores else {})}
    return compiled(objects(stores=stores, app=APP_KEY, bob=BOB), b"o" * 64, *servers, **whole)


def after(*servers: Body, **spec: Any) -> Compiled:
    found = compiled(objects(stores=False, app=APP_KEY), b"o" * 64, *servers, **{**TEAM, "stores": STORES, **spec})
    assert found.held is not None
    return found


@pytest.mark.parametrize("stored", [True, False], ids=["with its stores", "without any"])
@pytest.mark.parametrize("change", [{}, *({name: value} for name, value in STRICTER.items()), STRICTER], ids=str)
def test_access_is_as_it_shall_be(change: Body, stored: bool) -> None:
    had = before(REMOTE, stores=stored)
    new = after(REMOTE, NEW, **change)
    told = given(had, new, stores=STORES, **change)
    assert told.held is None
    assert told.kept is not None
    assert "spec.stores." in told.kept.message
    for field in ("auth", "authorization", "rate_limits", "limits", "allowed_hosts", "allowed_origins"):
        assert getattr(told.config, field) == getattr(new.config, field), field
    assert (lets_in(had, BOB), lets_in(told, BOB), lets_in(told, APP_KEY)) == ("bob", None, "app")
    assert told.config.stores == had.config.stores
    names = [server.id for server in told.config.servers]
    assert names == (["team-a/docs", "team-a/more"] if stored else ["team-a/docs"])
    assert set(told.left_out) == (set() if stored else {"team-a/more"})
    assert set(told.secrets) == secret_files(told.config.model_dump_json(by_alias=True).encode())
    assert config.ProxyConfig.model_validate(told.config.model_dump()) == told.config
    assert authenticator(told.config, {file: value.decode() for file, value in told.secrets.items()})


def test_where_its_stores_are_it_goes_on_to_reach() -> None:
    told = given(before(), after(), stores=STORES)
    assert told.places == (("db.data", 5433), ("redis", 6379))
    assert told.unshared == ()


def test_what_rests_on_stores_is_kept_with_them() -> None:
    had = before(audit={"database": True})
    new = after(audit={"database": True, "arguments": True}, rest={})
    told = given(had, new, stores=STORES, audit={"database": True, "arguments": True}, rest={})
    assert told.config.audit == config.Audit(stdout=True, database=True, arguments=True)
    assert told.config.rest is not None
    bare = given(before(stores=False), new, stores=STORES, audit={"database": True}, rest={})
    assert (bare.config.audit, bare.config.rest) == (None, None), "it would forget its users and records"


def test_an_audit_is_taken_away_at_once() -> None:
    assert given(before(audit={"database": True}), after(), stores=STORES).config.audit is None


def test_a_second_pass_changes_nothing() -> None:
    for stored in (True, False):
        new = after(REMOTE, **STRICTER)
        first = given(before(stores=stored), new, stores=STORES)
        assert given(first, new, stores=STORES) == first
        assert first.config.revision != before(stores=stored).config.revision


def test_with_nothing_to_keep_all_is_held() -> None:
    new, had = after(), before()
    proxy = models.proxy(resources.proxy(selector={}, stores=STORES))
    assert with_previous(proxy, new, None, {}) is new
    assert given(had, new, files={}, stores=STORES) is new, "its files are gone"
    assert given(had, had) is had, "nothing is held"


def test_no_secret_is_told() -> None:
    told = given(before(), after(), stores=STORES)
    for value in (*URLS.values(), BOB, APP_KEY):
        assert value not in repr(told)
