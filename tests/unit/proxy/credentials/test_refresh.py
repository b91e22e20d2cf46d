"""Users' tokens are renewed in time: once among replicas, safely where a refresh token is good once, and told of where it fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_operator_proxy.config import ProxyConfig, Server
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.credentials.engine import LEAST_SECONDS
from mcp_operator_proxy.services.credentials.refresher import BACKOFF, backoff
from mcp_operator_proxy.services.credentials.source import CredentialProblem, Credentials
from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.services.credentials.vault import Vault
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.services.users.identity import pseudonym
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from support.oauth import AZURE, COGNITO, GOOGLE, OAuthProvider, Shape
from support.tls import Certificate, make_certificate
from support.waiting import Eventually

SECRET = "client s3cret:%"
SOON = LEAST_SECONDS - 1
"""Seconds that a token of these tests has left: it is renewed before it is shown, and can be used until then."""


def config(provider: dict[str, Any], **more: Any) -> ProxyConfig:
    server = {"id": "ns/crm", "url": "http://127.0.0.1:9/mcp", "credential": {"kind": "userToken", "provider": "corp"}}
    corp = {"name": "corp", "clientId": "proxy", "clientSecret": {"file": "secret"}, **provider}
    return ProxyConfig.model_validate({"revision": "1", "servers": [server], "providers": [corp], **more})


@asynccontextmanager
async def replica(conf: ProxyConfig, secrets: dict[str, str] | None = None) -> AsyncIterator[Credentials]:
    async with Proxy(warm_seconds=0) as proxy:
        await proxy.apply(conf, {"secret": SECRET, **(secrets or {})})
        yield proxy.services.credentials


def oidc(provider: OAuthProvider) -> dict[str, Any]:
    return {"kind": "oidc", "issuer": provider.issuer}


async def sign_in(credentials: Credentials, provider: OAuthProvider, user: str = "alice", left: float = SOON) -> Token:
    answer = provider.sign_in(user)
    token = Token(
        answer["access_token"], answer["refresh_token"], time.time() + left, ("openid",), answer.get("id_token")
    )
    await credentials.vault.put(user, "corp", token)
    return token


def server_of(credentials: Credentials) -> Server:
    state = credentials._proxy.state
    assert state is not None
    return state.config.servers[0]


async def token_for(credentials: Credentials, user: str = "alice") -> str:
    return await credentials.token_for(server_of(credentials), user, None)


def metric(credentials: Credentials, name: str) -> float:
    return credentials._proxy.metrics.registry.get_sample_value(name, {"provider": "corp"}) or 0.0


REFRESHES, FAILURES = "mcp_oauth_token_refreshes_total", "mcp_oauth_token_refresh_failures_total"


async def test_a_token_that_is_about_to_end_is_renewed_before_it_is_shown(provider: OAuthProvider) -> None:
    async with replica(config(oidc(provider))) as credentials:
        old = await sign_in(credentials, provider)
        new = await token_for(credentials)
        assert new != old.access_token
        assert provider.grants.verified(new) is not None
        stored = await credentials.vault.get("alice", "corp", fresh=True)
        assert stored is not None
        assert stored.token.access_token == new
        assert stored.token.refresh_token in provider.grants.refresh
        assert stored.token.expires_at is not None
        assert stored.token.expires_at > time.time() + 3000
        assert stored.token.scopes == ("openid",)
        assert await token_for(credentials) == new
        assert provider.count("token", "refresh_token") == 1
        assert metric(credentials, REFRESHES) == 1


async def test_one_that_lasts_is_shown_as_it_is(provider: OAuthProvider) -> None:
    async with replica(config(oidc(provider))) as credentials:
        token = await sign_in(credentials, provider, left=3600)
        assert await token_for(credentials) == token.access_token
        assert provider.seen == []


async def test_of_many_calls_in_two_replicas_one_renews(provider: OAuthProvider, shared: Any) -> None:
    conf = config(oidc(provider), stores=shared.config)
    async with replica(conf, shared.secrets) as one, replica(conf, shared.secrets) as two:
        await sign_in(one, provider)
        tokens = await asyncio.gather(*(token_for(who) for who in [one, two] * 5))
        assert len(set(tokens)) == 1
        assert provider.grants.verified(tokens[0]) is not None
        assert provider.count("token", "refresh_token") == 1
        assert provider.grants.ended == set()


async def test_two_replicas_renew_what_ends_soon_once(
    provider: OAuthProvider, shared: Any, eventually: Eventually
) -> None:
    refresh = {"everySeconds": 0.2, "withinSeconds": 600}
    users = [f"user-{n}" for n in range(12)]
    conf = config(oidc(provider), stores=shared.config)
    async with replica(conf, shared.secrets) as one:
        for user in users:
            await sign_in(one, provider, user, left=300)
        await sign_in(one, provider, "later", left=3600)
    conf = config(oidc(provider), stores=shared.config, refresh=refresh)
    async with replica(conf, shared.secrets) as one, replica(conf, shared.secrets) as two:
        await eventually(lambda: metric(one, REFRESHES) + metric(two, REFRESHES) == len(users))
        assert provider.count("token", "refresh_token") == len(users)
        assert provider.grants.ended == set()
        for user in users:
            assert provider.grants.verified(await token_for(two, user)) is not None


async def test_a_replica_hears_of_what_another_renewed(
    provider: OAuthProvider, shared: Any, eventually: Eventually
) -> None:
    conf = config(oidc(provider), stores=shared.config)
    heard: list[tuple[str, str]] = []
    async with replica(conf, shared.secrets) as one, replica(conf, shared.secrets) as two:
        two.subscribe(lambda user, issuer: heard.append((user, issuer)))

        async def told() -> bool:  # a subscription hears what is published after its beginning
            await one.changed("bob", "corp")
            return bool(heard)

        await eventually(told)
        await sign_in(one, provider)
        await token_for(one)
        await eventually(lambda: ("alice", "corp") in heard)


async def test_a_sign_in_that_has_ended_is_said_once_and_not_tried_again(
    provider: OAuthProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async with replica(config(oidc(provider))) as credentials:
        heard: list[tuple[str, str]] = []
        credentials.subscribe(lambda user, issuer: heard.append((user, issuer)))
        old = await sign_in(credentials, provider)
        provider.fail("token", "invalid_grant")
        for _ in range(2):
            with pytest.raises(CredentialProblem) as raised:
                await token_for(credentials)
            assert raised.value.sign_in_url is None
            assert raised.value.message == (
                "your sign-in at corp has ended (invalid_grant): start a session with a token of corp"
            )
        assert provider.count("token") == 1
        assert heard == [("alice", "corp")]
        assert metric(credentials, FAILURES) == 1
        assert metric(credentials, REFRESHES) == 0
        assert await credentials.vault.due(1e9) == []
        (notice,) = credentials._proxy.status().notices
        assert (notice.type, notice.subject) == ("credential.not-refreshed", "corp")
        said = "the token of {} cannot be renewed (invalid_grant): another sign-in is needed"
        assert notice.message == said.format(pseudonym("alice"))
        assert "alice" not in credentials._proxy.status().model_dump_json()
        assert [r.__dict__["notice"] for r in caplog.records if r.message == "notice"] == [said.format("alice")]
        assert old.refresh_token is not None
        assert old.refresh_token not in caplog.text
        await sign_in(credentials, provider, left=3600)
        assert await token_for(credentials)


async def test_with_an_address_of_its_own_the_proxy_says_where_to_sign_in(provider: OAuthProvider) -> None:
    async with replica(config(oidc(provider), publicUrl="https://mcp.example/x/")) as credentials:
        await sign_in(credentials, provider)
        provider.fail("token", "invalid_grant")
        with pytest.raises(CredentialProblem, match="has ended") as raised:
            await token_for(credentials)
        assert raised.value.sign_in_url is not None
        assert raised.value.sign_in_url.startswith("https://mcp.example/x/oauth/start/")
        assert raised.value.sign_in_url in raised.value.message


@pytest.mark.parametrize("how", [500, "garbage", "temporarily_unavailable", "invalid_client"])
async def test_what_may_pass_is_tried_again_later_and_the_token_is_used_as_long_as_it_lasts(
    provider: OAuthProvider, how: Any
) -> None:
    async with replica(config(oidc(provider))) as credentials:
        old = await sign_in(credentials, provider)
        provider.fail("token", how)
        assert await token_for(credentials) == old.access_token
        stored = await credentials.vault.get("alice", "corp", fresh=True)
        assert stored is not None
        assert (stored.failures, stored.problem) == (1, None)
        assert await credentials.vault.due(600) == []  # not before its time
        assert metric(credentials, FAILURES) == 1
        assert await token_for(credentials) != old.access_token


async def test_a_token_that_has_ended_and_cannot_be_renewed_now_is_not_shown(provider: OAuthProvider) -> None:
    async with replica(config(oidc(provider))) as credentials:
        await sign_in(credentials, provider, left=-5)
        provider.fail("token", 503)
        with pytest.raises(CredentialProblem, match="cannot be renewed now: try again"):
            await token_for(credentials)
        assert await token_for(credentials)


async def test_without_a_refresh_token_the_end_is_the_end(provider: OAuthProvider) -> None:
    async with replica(config(oidc(provider))) as credentials:
        await credentials.vault.put("alice", "corp", Token("short", None, time.time() - 1))
        with pytest.raises(CredentialProblem, match="your sign-in at corp has ended: start a session"):
            await token_for(credentials)
        with pytest.raises(CredentialProblem, match="server ns/crm needs a sign-in at corp"):
            await token_for(credentials, "bob")
        with pytest.raises(CredentialProblem, match="call it as somebody"):
            await credentials.token_for(server_of(credentials), None, None)


async def test_who_gives_up_waiting_does_not_end_the_renewal(provider: OAuthProvider, eventually: Eventually) -> None:
    async with replica(config(oidc(provider))) as credentials:
        await sign_in(credentials, provider)
        provider.fail("token", "slow")
        call = asyncio.create_task(token_for(credentials))
        await eventually(lambda: provider.count("token") == 1)
        call.cancel()
        await asyncio.wait([call])
        provider.release.set()
        await eventually(lambda: metric(credentials, REFRESHES) == 1)
        assert provider.grants.verified(await token_for(credentials)) is not None
        assert provider.count("token") == 1


async def test_the_end_of_a_proxy_waits_for_an_answer_that_is_on_its_way(
    provider: OAuthProvider, shared: Any, eventually: Eventually
) -> None:
    conf = config(oidc(provider), stores=shared.config)
    async with replica(conf, shared.secrets) as one:
        await sign_in(one, provider)
        provider.fail("token", "slow")
        call = asyncio.create_task(token_for(one))
        await eventually(lambda: provider.count("token") == 1)
        asyncio.get_running_loop().call_later(0.05, provider.release.set)
    await asyncio.wait([call])
    async with replica(conf, shared.secrets) as two:
        assert provider.grants.verified(await token_for(two)) is not None
    assert provider.count("token") == 1


async def test_a_sign_in_during_a_renewal_counts(provider: OAuthProvider, eventually: Eventually) -> None:
    async with replica(config(oidc(provider))) as credentials:
        await sign_in(credentials, provider)
        provider.fail("token", "slow")
        call = asyncio.create_task(token_for(credentials))
        await eventually(lambda: provider.count("token") == 1)
        newer = await sign_in(credentials, provider, left=3600)
        provider.release.set()
        assert await call == newer.access_token
        assert await token_for(credentials) == newer.access_token


async def test_an_answer_that_is_lost_costs_a_sign_in_and_is_said(provider: OAuthProvider) -> None:
    """The refresh token is spent, and nobody has the one that followed."""
    async with replica(config(oidc(provider))) as credentials:
        old = await sign_in(credentials, provider)
        provider.fail("token", "cut")
        assert await token_for(credentials) == old.access_token
        with pytest.raises(CredentialProblem, match="has ended \\(invalid_grant\\)"):
            await token_for(credentials)


async def test_a_new_token_is_written_although_the_records_are_away_for_a_moment(
    provider: OAuthProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica(config(oidc(provider))) as credentials:
        await sign_in(credentials, provider)
        put, tries = Vault.put, 0

        async def away(self: Vault, *args: Any, **options: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries <= 2:
                raise StoreUnavailable("database: away")
            return await put(self, *args, **options)

        monkeypatch.setattr(Vault, "put", away)
        assert provider.grants.verified(await token_for(credentials)) is not None
        assert tries == 3
        assert provider.count("token") == 1


async def test_what_another_replica_leased_and_left_is_taken_over(provider: OAuthProvider, shared: Any) -> None:
    """It died between the question and the answer; its lease ends by itself."""
    conf = config(oidc(provider), stores=shared.config)
    dead = Stores(shared.settings)
    async with replica(conf, shared.secrets) as credentials:
        await sign_in(credentials, provider)
        assert await Vault(dead).lease("alice", "corp", 0.5) is not None
        assert provider.grants.verified(await token_for(credentials)) is not None
        assert provider.count("token") == 1
    await dead.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def of_kind(provider: OAuthProvider, certificate: Certificate, **more: Any) -> dict[str, Any]:
    return {"authority": provider.base, "caBundle": certificate.pem, **more}


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (AZURE, {"kind": "azure", "tenant": "contoso.example", "scopes": ["api://crm/.default"]}),
        (COGNITO, {"kind": "cognito", "region": "eu-central-1", "userPool": "eu-central-1_Pool"}),
        (GOOGLE, {"kind": "google"}),
    ],
)
async def test_each_provider_renews_in_its_own_way(
    shape: Shape, kind: dict[str, Any], certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with OAuthProvider(shape, certificate=certificate) as provider:
        provider.add_client("proxy", SECRET)
        async with replica(config(of_kind(provider, certificate, **kind))) as credentials:
            for number in range(1, 3):
                token = await sign_in(credentials, provider)
                new = await token_for(credentials)
                assert new != token.access_token
                assert provider.grants.verified(new) is not None
                assert provider.count("token", "refresh_token") == number
                stored = await credentials.vault.get("alice", "corp", fresh=True)
                assert stored is not None
                same = stored.token.refresh_token == token.refresh_token
                assert same != shape.renews_refresh_token
            for how, permanent in (("garbage", False), (500, False), ("invalid_grant", True)):
                token = await sign_in(credentials, provider)
                provider.fail("token", how)
                if permanent:
                    with pytest.raises(CredentialProblem, match="invalid_grant"):
                        await token_for(credentials)
                else:
                    assert await token_for(credentials) == token.access_token
        for secret in provider.grants.secrets:
            assert secret not in caplog.text


def test_pauses_grow_and_differ() -> None:
    assert all(BACKOFF[0] / 2 <= backoff(0) <= BACKOFF[0] for _ in range(50))
    assert all(BACKOFF[1] / 2 <= backoff(1000) <= BACKOFF[1] for _ in range(50))
    assert len({backoff(3) for _ in range(50)}) > 10
