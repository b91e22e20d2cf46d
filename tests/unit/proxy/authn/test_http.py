"""Callers with tokens, over HTTP: a real issuer, a real proxy; what is answered, fetched, remembered, and forgotten."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.authn import jwks
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import ConfigRejected, authenticator
from support.backends import ServedMCP, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.issuer import Issuer, Served, make_key, served_issuer, sign
from support.modern import ModernClient

KEY = "bob-key-0123456789abc"
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def config(*jwt: dict[str, Any], keys: bool = True, url: str | None = None, **auth: Any) -> ProxyConfig:
    said: dict[str, Any] = {"jwt": list(jwt), **auth}
    if keys:
        said["apiKeys"] = [{"name": "bob", "secret": {"file": "bob"}}]
    return make_config({"one": url} if url else {}, auth=said)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with served_issuer() as served:
        yield served


@pytest.fixture
def issuer(served: Served) -> Issuer:
    return served.issuer


@contextlib.asynccontextmanager
async def gateway(made: ProxyConfig) -> AsyncIterator[Gateway]:
    async with running_gateway(made, {"bob": KEY}) as running:
        yield running


def adder() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("one")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    return mcp


async def said(running: Gateway, token: str | None, **headers: str) -> tuple[int, str, str]:
    """Status, message and challenge."""
    shown = {} if token is None else {"authorization": f"Bearer {token}"}
    answer = await running.http.post(running.url, headers={**HEADERS, **shown, **headers}, content=b"{}")
    return answer.status_code, answer.json()["error"]["message"], answer.headers.get("www-authenticate", "")


IN = 400
"""The status of what the protocol has nothing to say to: the request has got through."""


async def test_a_token_and_a_key_both_let_in(issuer: Issuer) -> None:
    async with gateway(config(issuer.config())) as running:
        assert (await said(running, issuer.token()))[0] == IN
        assert (await said(running, KEY))[0] == IN
        assert (await said(running, None, **{"x-api-key": KEY}))[0] == IN
        status, message, challenge = await said(running, None)
        assert (status, message) == (401, "a token is needed, or an API key")
        assert "error" not in challenge
        assert challenge.startswith('Bearer realm="mcp-operator-proxy"')
        assert f'resource_metadata="{running.base}/.well-known/oauth-protected-resource/mcp"' in challenge


async def test_what_is_wrong_is_said_with_the_challenge(issuer: Issuer) -> None:
    async with gateway(config(issuer.config(requiredScopes=["tools"], leewaySeconds=0))) as running:
        good = {"scope": "tools"}
        for token, message in (
            (issuer.token(seconds=-1, **good), "the token has expired"),
            (issuer.token(aud="x", **good), "the token is for another audience"),
            (
                issuer.token(iss="https://else.test", **good),
                "this is no known API key, and no token of an accepted issuer",
            ),
            ("wrong-key-0123456789", "this is no known API key, and no token of an accepted issuer"),
        ):
            status, told, challenge = await said(running, token)
            assert (status, told) == (401, message)
            assert f'error="invalid_token", error_description="{message}", scope="tools"' in challenge
        assert (await said(running, None, authorization="Basic eDp5"))[0] == 401
        assert (await said(running, issuer.token(**good), **{"x-api-key": "wrong-key-0123456789"}))[0] == 401
        status, _, challenge = await said(running, issuer.token(scope="other"))
        assert status == 403
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="tools"' in challenge
        assert "resource_metadata=" in challenge
        assert (await said(running, issuer.token(**good)))[0] == IN


async def test_anonymous_lets_in_who_shows_nothing_and_nobody_who_shows_something_wrong(issuer: Issuer) -> None:
    async with gateway(config(issuer.config(), anonymous=True)) as running:
        assert (await said(running, None))[0] == IN
        assert (await said(running, "wrong-key-0123456789"))[0] == 401
        assert (await said(running, None, authorization=""))[0] == 401
        assert (await said(running, issuer.token(seconds=-60)))[0] == 401
        assert (await said(running, issuer.token()))[0] == IN


async def test_an_unknown_key_is_asked_for_once(issuer: Issuer) -> None:
    async with gateway(config(issuer.config())) as running:
        assert (await said(running, issuer.token()))[0] == IN
        before = issuer.fetches
        issuer.keys.insert(0, make_key("two"))
        assert (await said(running, issuer.token()))[0] == IN
        assert issuer.fetches == before + 1
        stranger = sign(make_key("three"), issuer.claims())
        for _ in range(3):
            status, message, _ = await said(running, stranger)
            assert (status, message) == (401, "the token is signed by a key that its issuer does not show")
        assert issuer.fetches == before + 1


async def test_keys_are_kept_while_the_issuer_is_away(served: Served, issuer: Issuer) -> None:
    async with gateway(config(issuer.config())) as running:
        assert (await said(running, issuer.token()))[0] == IN
        await served.stop()
        source = running.proxy.services.issuers.source("corp")
        assert source is not None
        assert not await source.renew()
        assert source.problem is not None
        assert (await said(running, issuer.token("carol")))[0] == IN


async def test_before_the_issuer_has_given_its_keys_nobody_can_say(served: Served, issuer: Issuer) -> None:
    token = issuer.token()
    await served.stop()
    async with gateway(config(issuer.config())) as running:
        status, message, _ = await said(running, token)
        assert (status, message) == (503, "the keys of the issuer corp cannot be fetched now; try again")
        assert (await said(running, KEY))[0] == IN
        await served.start()

        async def lets_in() -> bool:
            return (await said(running, token))[0] == IN

        await eventually(lets_in)


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (b"[]", 200, "the document is no set of keys"),
        (b"{", 200, "is no JSON"),
        (b'{"keys": []}', 200, "the set has no key of a known kind"),
        (b" " * (jwks.MAX_BYTES + 1), 200, "is larger than"),
        (b"{}", 302, "answers with 302"),
    ],
)
async def test_bad_answers_change_nothing(issuer: Issuer, answer: bytes, status: int, problem: str) -> None:
    async with gateway(config(issuer.config())) as running:
        assert (await said(running, issuer.token()))[0] == IN
        issuer.answer, issuer.status = answer, status
        source = running.proxy.services.issuers.source("corp")
        assert source is not None
        assert not await source.renew()
        assert problem in (source.problem or "")
        assert (await said(running, issuer.token("carol")))[0] == IN


async def test_keys_are_renewed_by_themselves(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "RENEW_SECONDS", 0.01)
    async with gateway(config(issuer.config())):
        await eventually(lambda: issuer.fetches > 3)


async def test_the_metadata_of_the_issuer_names_its_keys(issuer: Issuer) -> None:
    async with gateway(config(issuer.config(jwksUrl=None))) as running:
        assert (await said(running, issuer.token()))[0] == IN
        assert "/.well-known/oauth-authorization-server" in issuer.asked
        source = running.proxy.services.issuers.source("corp")
        assert source is not None
        issuer.metadata = {"issuer": "https://else.test", "jwks_uri": f"{issuer.url}/keys"}
        assert not await source.renew()
        assert "the metadata is of another issuer" in (source.problem or "")


async def test_a_key_that_goes_takes_its_tokens_along(issuer: Issuer) -> None:
    """On the full path and on the fast lane, which remembers callers by their headers."""
    async with ServedMCP(adder()) as backend, gateway(config(issuer.config(), url=backend.url)) as running:
        token = issuer.token()
        async with ModernClient(running.url) as client:
            client._headers = {"authorization": f"Bearer {token}"}
            for _ in range(3):
                assert (await client.call("one_add", {"a": 1, "b": 2})).status == 200
            issuer.keys[:] = [make_key("two")]
            source = running.proxy.services.issuers.source("corp")
            assert source is not None
            assert await source.renew()
            assert (await client.call("one_add", {"a": 1, "b": 2})).status == 401
            client._headers = {"authorization": f"Bearer {issuer.token()}"}
            assert (await client.call("one_add", {"a": 1, "b": 2})).status == 200


async def test_issuers_change_without_a_restart(issuer: Issuer) -> None:
    async with gateway(config(issuer.config())) as running, served_issuer() as second:
        one, two = issuer.token(), second.issuer.token()
        assert [(await said(running, token))[0] for token in (one, two)] == [IN, 401]
        both = config(issuer.config(), second.issuer.config(name="partner"))
        fetches = issuer.fetches
        assert await running.proxy.apply(both, {"bob": KEY})
        assert [(await said(running, token))[0] for token in (one, two)] == [IN, IN]
        assert issuer.fetches == fetches
        other = config(issuer.config(audiences=["other"]), second.issuer.config(name="partner"))
        assert await running.proxy.apply(other, {"bob": KEY})
        assert [(await said(running, token))[0] for token in (one, two)] == [401, IN]
        assert await running.proxy.apply(config(), {"bob": KEY})
        assert [(await said(running, token))[0] for token in (one, two, KEY)] == [401, 401, IN]


async def test_two_issuers_may_have_one_name_and_are_two_callers(issuer: Issuer) -> None:
    """A session belongs to its principal: not to somebody of the same name, and on with a renewed token."""
    async with ServedMCP(adder()) as backend, served_issuer() as second:
        made = config(issuer.config(), second.issuer.config(name="partner"), url=backend.url)
        async with gateway(made) as running:
            start = {
                "jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
            }  # fmt: skip

            async def post(token: str, body: dict[str, Any], **more: str) -> Any:
                shown = {**HEADERS, "authorization": f"Bearer {token}", **more}
                return await running.http.post(running.url, json=body, headers=shown)

            first = await post(issuer.token("alice"), start)
            session = {"mcp-session-id": first.headers["mcp-session-id"]}
            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
            assert (await post(second.issuer.token("alice"), ping, **session)).status_code == 404
            assert (await post(issuer.token("alice", seconds=1800), ping, **session)).status_code == 200


def test_bad_issuers_are_refused_with_their_field() -> None:
    entry = {"name": "corp", "issuer": "accounts.test", "audiences": ["x"]}
    with pytest.raises(ConfigRejected, match=r"auth.jwt\[0\]: issuer is no URL .* give it jwksUrl"):
        authenticator(config(entry, keys=False), {})
    with pytest.raises(ConfigRejected, match=r"auth.jwt\[0\].caBundle: not a bundle of PEM certificates"):
        authenticator(config({**entry, "issuer": "https://x.test", "caBundle": "x"}, keys=False), {})
    assert authenticator(config({**entry, "jwksUrl": "https://x.test/k"}, keys=False), {}) is not None


async def test_many_tokens_at_once_wait_for_one_fetch(issuer: Issuer) -> None:
    async with gateway(config(issuer.config())) as running:
        assert (await said(running, issuer.token()))[0] == IN
        before = issuer.fetches
        issuer.keys.insert(0, make_key("two"))
        tokens = [issuer.token(f"user{n}") for n in range(10)]
        assert {(await each)[0] for each in asyncio.as_completed([said(running, t) for t in tokens])} == {IN}
        assert issuer.fetches == before + 1


def test_the_digest_of_a_key_lets_in_as_before() -> None:
    made = authenticator(config(keys=True), {"bob": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"})
    assert made is not None
    found = made.authenticate(f"Bearer {KEY}".encode(), None)
    assert found is not None
    assert (found.name, found.expires) == ("bob", None)
