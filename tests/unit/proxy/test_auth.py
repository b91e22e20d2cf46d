"""API keys: which are known, which are usable at all, and what a caller without one is told."""

import hashlib

import pytest

from mcp_operator_proxy.auth import Authenticator, BadKey, Principal, credentials, same_owner
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing, authenticator
from support.gateway import running_gateway

ALICE, BOB = "alice-key-0123456789", "bob-key-0123456789abc"
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def known() -> Authenticator:
    return Authenticator({"alice": ALICE, "bob": f"sha256:{hashlib.sha256(BOB.encode()).hexdigest()}"})


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        (f"Bearer {ALICE}", None, "alice"),
        (f"bearer  {BOB}", None, "bob"),
        (None, ALICE, "alice"),
        (f"Bearer {ALICE}", BOB, "bob"),
        (f"Basic {ALICE}", None, None),
        ("Bearer ", None, None),
        (None, "", None),
        (None, ALICE[:-1], None),
        (None, hashlib.sha256(BOB.encode()).hexdigest(), None),
        (None, None, None),
    ],
)
def test_authenticates(authorization: str | None, api_key: str | None, expected: str | None) -> None:
    found = known().authenticate(
        authorization.encode() if authorization is not None else None, api_key.encode() if api_key is not None else None
    )
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    "key", ["short", "sixteen chars ok", "ünprintable-0123456", "line\nbreak-0123456789", "sha256:abc"]
)
def test_refuses_a_bad_key_without_showing_it(key: str) -> None:
    with pytest.raises(BadKey) as refused:
        Authenticator({"alice": key})
    assert "alice" in str(refused.value)
    assert key not in str(refused.value)


def test_refuses_one_key_for_two() -> None:
    with pytest.raises(BadKey, match="alice and bob are the same"):
        Authenticator({"alice": ALICE, "bob": ALICE})


def test_reads_credentials_from_a_scope() -> None:
    scope = {"headers": [(b"authorization", b"Bearer x"), (b"accept", b"*/*"), (b"x-api-key", b"y")]}
    assert credentials(scope) == (b"Bearer x", b"y")


def test_owners() -> None:
    assert same_owner(None, None)
    assert same_owner(Principal("a"), Principal("a"))
    assert not same_owner(Principal("a"), Principal("b"))
    assert not same_owner(Principal("a"), None)


def config(**more: object) -> ProxyConfig:
    keys = [{"name": "alice", "secret": {"file": "alice"}}]
    routes = [{"name": "McpRoute/ns/r", "path": "/mcp"}]
    return ProxyConfig.model_validate({"revision": "r1", "routes": routes, "auth": {"apiKeys": keys}, **more})


def test_a_missing_or_bad_key_file_is_told() -> None:
    with pytest.raises(SecretMissing, match=r"auth.apiKeys\[0\]: there is no secret file alice"):
        authenticator(config(), {})
    with pytest.raises(ConfigRejected, match=r"auth.apiKeys: the key of alice must be at least 16"):
        authenticator(config(), {"alice": "hunter2"})


async def test_without_a_key_nothing_is_answered_and_a_rotated_one_is_in_use_at_once() -> None:
    async with running_gateway(config(), {"alice": ALICE}) as running:

        async def status(key: str | None) -> tuple[int, str | None]:
            shown = {} if key is None else {"authorization": f"Bearer {key}"}
            answer = await running.http.post(running.url, headers={**HEADERS, **shown}, content=b"{}")
            return answer.status_code, answer.headers.get("www-authenticate")

        assert await status(None) == (401, 'Bearer realm="mcp-operator-proxy"')
        assert (await status(BOB))[0] == 401
        assert (await status(ALICE))[0] == 400  # through to the protocol, which has nothing to say to {}
        assert await running.proxy.apply(config(), {"alice": BOB})
        assert (await status(ALICE))[0] == 401
        assert (await status(BOB))[0] == 400
        assert (await running.get("/readyz")).status_code == 200
