"""A user signs in with a browser, for a server that asks for it and at a provider; and what must not work."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import redis

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.services.credentials.source import CredentialProblem, Credentials
from mcp_operator_proxy.services.credentials.token import Token, issuer_of
from support.backends import free_port
from support.oauth import OAuthProvider
from support.oauth.resource import ProtectedMCP

SECRET = "client s3cret:%"


@pytest.fixture
async def protected(provider: OAuthProvider) -> AsyncIterator[ProtectedMCP]:
    async with ProtectedMCP(provider) as made:
        made.audience = made.url
        yield made


class Replica:
    """A proxy at the address that browsers know it by, and a browser."""

    def __init__(self, proxy: Proxy, public: str, browser: httpx2.AsyncClient) -> None:
        self.proxy, self.public, self.browser = proxy, public, browser

    @property
    def credentials(self) -> Credentials:
        return self.proxy.services.credentials

    async def token(self, user: str = "alice") -> str:
        state = self.proxy.state
        assert state is not None
        return await self.credentials.token_for(state.config.servers[0], user, None)

    async def url(self, user: str = "alice") -> str:
        """Where the user is told to sign in."""
        with pytest.raises(CredentialProblem) as raised:
            await self.token(user)
        assert raised.value.sign_in_url is not None
        return raised.value.sign_in_url

    async def go(self, url: str) -> httpx2.Response:
        """Follow redirects from this replica to the issuer and back, as a browser does."""
        response = await self.browser.get(url)
        while response.is_redirect:
            response = await self.browser.get(response.headers["location"])
        return response


def config(server: str, public: str, *, credential: dict[str, Any] | None = None, **more: Any) -> ProxyConfig:
    shown = credential or {"kind": "authorizationCode"}
    servers = [{"id": "ns/crm", "url": server, "credential": shown}]
    return ProxyConfig.model_validate({"revision": "1", "servers": servers, "publicUrl": public, **more})


@asynccontextmanager
async def replica(
    server: str, secrets: dict[str, str] | None = None, *, egress: Egress | None = None, **more: Any
) -> AsyncIterator[Replica]:
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    async with Proxy(warm_seconds=0, egress=egress) as proxy, httpx2.AsyncClient(timeout=20) as browser:
        await proxy.apply(config(server, more.pop("public", public), **more), {"secret": SECRET, **(secrets or {})})
        async with running(proxy, "127.0.0.1", port, grace_seconds=1):
            yield Replica(proxy, public, browser)


def words(page: httpx2.Response) -> str:
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    found = re.search(r"<p>(.*)</p>", page.text)
    assert found is not None
    return found[1]


async def test_a_user_signs_in_and_the_server_is_shown_that_users_token(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    async with replica(protected.url) as here:
        page = await here.go(await here.url())
        assert page.status_code == 200
        assert words(page) == "server ns/crm can be used for alice. You may close this page."
        token = await here.token()
        claims = provider.grants.verified(token)
        assert claims is not None
        assert (claims["sub"], claims["aud"], claims["scope"]) == ("alice", protected.url, "tools offline_access")
        asked = next(seen.values for seen in provider.seen if seen.endpoint == "authorize")
        assert asked["code_challenge_method"] == "S256"
        assert asked["resource"] == protected.url
        assert asked["redirect_uri"] == f"{here.public}/oauth/callback"
        with pytest.raises(CredentialProblem):
            await here.token("bob")
        provider.user = "bob"
        assert (await here.go(await here.url("bob"))).status_code == 200
        assert await here.token("bob") != await here.token()
        assert provider.count("register") == 1


async def test_the_token_is_renewed_at_the_same_client_for_the_same_resource(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    provider.grants.lifetime = 9  # too short to be shown, and not over meanwhile
    async with replica(protected.url) as here:
        await here.go(await here.url())
        new = await here.token()
        claims = provider.grants.verified(new)
        assert claims is not None
        assert claims["aud"] == protected.url
        assert provider.count("token", "refresh_token") == 1
        assert provider.seen[-1].values["resource"] == protected.url


async def test_any_replica_goes_on_with_what_another_began(
    provider: OAuthProvider, protected: ProtectedMCP, shared: Any
) -> None:
    stores = {"stores": shared.config}
    async with (
        replica(protected.url, shared.secrets, **stores) as one,
        replica(protected.url, shared.secrets, public=one.public, **stores) as two,
    ):
        begun = (await two.url()).replace(one.public, two.public)
        at_issuer = (await one.browser.get(begun)).headers["location"]
        back = (await one.browser.get(at_issuer)).headers["location"]
        assert back.startswith(f"{one.public}/oauth/callback?")
        assert (await one.browser.get(back)).status_code == 200
        assert await two.token() == await one.token()


async def test_each_address_is_good_once(provider: OAuthProvider, protected: ProtectedMCP) -> None:
    async with replica(protected.url) as here:
        url = await here.url()
        assert await here.url() == url  # of one sign-in, however many calls ask for it
        at_issuer = (await here.browser.get(url)).headers["location"]
        again = await here.browser.get(url)
        assert again.status_code == 400
        assert words(again).startswith("this address was used already")
        back = (await here.browser.get(at_issuer)).headers["location"]
        assert (await here.browser.get(back)).status_code == 200
        assert (await here.browser.get(back)).status_code == 400
        assert (await here.browser.get(f"{here.public}/oauth/start/nonsense")).status_code == 400
        assert provider.count("token") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "another"}, "this sign-in is not known"),
        ({"iss": "https://evil.example"}, "not from the authorization server"),
        ({"iss": None}, "not from the authorization server"),
        ({"code": "stolen"}, "gives no token: it answered invalid_grant"),
        ({"error": "<script>alert(1)</script>"}, "answered an error"),
        ({"error": "access_denied"}, "answered access_denied"),
    ],
)
async def test_a_wrong_answer_ends_it(
    provider: OAuthProvider, protected: ProtectedMCP, change: dict[str, str | None], said: str
) -> None:
    async with replica(protected.url) as here:
        at_issuer = (await here.browser.get(await here.url())).headers["location"]
        back = urlsplit((await here.browser.get(at_issuer)).headers["location"])
        query = {name: values[0] for name, values in parse_qs(back.query).items()}
        changed = {name: value for name, value in {**query, **change}.items() if value is not None}
        page = await here.browser.get(f"{here.public}{back.path}", params=changed)
        assert page.status_code == 400
        assert said in words(page)
        assert "alert(1)" not in page.text
        assert await here.credentials.vault.get("alice", issuer_of("ns/crm"), fresh=True) is None


async def test_another_browser_cannot_end_what_one_began(provider: OAuthProvider, protected: ProtectedMCP) -> None:
    async with replica(protected.url) as here, httpx2.AsyncClient() as other:
        at_issuer = (await here.browser.get(await here.url())).headers["location"]
        back = (await here.browser.get(at_issuer)).headers["location"]
        page = await other.get(back)
        assert page.status_code == 400
        assert "another browser" in words(page)
        assert provider.count("token") == 0


async def test_who_refuses_at_the_issuer_is_told_without_its_words(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    provider.user = None
    async with replica(protected.url) as here:
        page = await here.go(await here.url())
        assert page.status_code == 400
        assert "access_denied" in words(page)
        assert "alert" not in page.text


@pytest.mark.parametrize(
    ("metadata", "resource", "said"),
    [
        ({}, None, "does not say which authorization server"),
        ({}, {"resource": "https://other.example/mcp"}, "those of another resource"),
        ({"issuer": "https://other.example"}, {}, "name another issuer"),
        ({"code_challenge_methods_supported": ["plain"]}, {}, "PKCE with S256"),
        ({"code_challenge_methods_supported": None}, {}, "PKCE with S256"),
        ({"registration_endpoint": None}, {}, "registers no clients: configure"),
        ({}, {"authorization_servers": ["http://127.0.0.1:9"]}, "metadata cannot be read"),
    ],
)
async def test_what_cannot_be_trusted_is_said(
    provider: OAuthProvider,
    protected: ProtectedMCP,
    metadata: dict[str, Any],
    resource: dict[str, Any] | None,
    said: str,
) -> None:
    provider.metadata_changes, protected.metadata = metadata, resource
    async with replica(protected.url) as here:
        url = await here.url()
        page = await here.browser.get(url)
        assert page.status_code == 400
        assert said in words(page)
        provider.metadata_changes, protected.metadata = {}, {}
        assert (await here.go(url)).status_code == 200  # it was not used up


async def test_a_configured_client_is_used_at_the_configured_issuer(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    endpoint = {"issuer": provider.issuer, "clientId": "known", "clientSecret": {"file": "secret"}}
    credential = {"kind": "authorizationCode", "endpoint": endpoint, "scopes": ["special"]}
    async with replica(protected.url, credential=credential) as here:
        provider.add_client("known", SECRET, f"{here.public}/oauth/callback")
        assert (await here.go(await here.url())).status_code == 200
        claims = provider.grants.verified(await here.token())
        assert claims is not None
        assert (claims["client_id"], claims["scope"]) == ("known", "special")
        assert provider.count("register") == 0
    protected.metadata = {"authorization_servers": ["https://other.example"]}
    async with replica(protected.url, credential=credential) as here:
        assert "does not trust the configured issuer" in words(await here.browser.get(await here.url()))


async def test_a_server_that_takes_the_token_no_more_asks_for_another_sign_in(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    async with replica(protected.url) as here:
        await here.go(await here.url())
        token = await here.token()
        state = here.proxy.state
        assert state is not None
        server = state.config.servers[0]
        engine = here.credentials._engine
        assert await engine.renewed(server, "alice", None, token)
        new = await here.token()
        assert new != token
        assert await engine.renewed(server, "alice", None, token)  # it has changed already
        assert provider.count("token", "refresh_token") == 1
        await here.credentials.vault.put("alice", issuer_of("ns/crm"), Token(new))
        assert not await engine.renewed(server, "alice", None, new)
        with pytest.raises(CredentialProblem, match="ns/crm does not take your sign-in any more: open http"):
            await here.token()


async def test_egress_holds_for_what_a_server_names(provider: OAuthProvider, protected: ProtectedMCP) -> None:
    async with replica(protected.url, egress=Egress()) as here:
        assert "the server cannot be reached" in words(await here.browser.get(await here.url()))
    assert provider.seen == []


async def test_a_user_signs_in_at_a_provider(provider: OAuthProvider, protected: ProtectedMCP) -> None:
    corp = {"name": "corp", "kind": "oidc", "issuer": provider.issuer, "clientId": "proxy"}
    providers = [{**corp, "clientSecret": {"file": "secret"}}]
    credential = {"kind": "userToken", "provider": "corp"}
    async with replica(protected.url, credential=credential, providers=providers) as here:
        provider.add_client("proxy", SECRET, f"{here.public}/oauth/callback")
        assert words(await here.go(await here.url())).startswith("provider corp can be used for alice")
        claims = provider.grants.verified(await here.token())
        assert claims is not None
        assert claims["scope"] == "openid offline_access"


async def test_no_page_where_nobody_signs_in(protected: ProtectedMCP) -> None:
    servers = {"servers": [{"id": "ns/crm", "url": protected.url}]}
    async with Proxy(warm_seconds=0) as proxy, httpx2.AsyncClient() as http:
        await proxy.apply(ProxyConfig.model_validate({"revision": "1", **servers, "publicUrl": "http://x.example"}))
        async with running(proxy, "127.0.0.1", 0, grace_seconds=1) as server:
            for path in ("/oauth/callback", "/oauth/start/x"):
                assert (await http.get(f"http://127.0.0.1:{server.port}{path}")).status_code == 404


async def test_without_an_address_of_the_proxy_that_is_said(protected: ProtectedMCP) -> None:
    conf = {
        "revision": "1",
        "servers": [{"id": "ns/crm", "url": protected.url, "credential": {"kind": "authorizationCode"}}],
    }
    async with Proxy(warm_seconds=0) as proxy:
        await proxy.apply(ProxyConfig.model_validate(conf))
        with pytest.raises(CredentialProblem, match="publicUrl is not configured") as raised:
            await proxy.services.credentials.token_for(proxy.state.config.servers[0], "alice", None)  # type: ignore[union-attr]
        assert raised.value.sign_in_url is None


async def test_nothing_secret_is_found_where_others_look(
    provider: OAuthProvider, protected: ProtectedMCP, shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In logs, status, metrics, errors, reprs, Redis and the database."""
    caplog.set_level("DEBUG", logger="mcp_operator_proxy")
    seen: list[str] = []
    async with replica(protected.url, shared.secrets, stores=shared.config) as here:
        url = await here.url()
        at_issuer = (await here.browser.get(url)).headers["location"]
        with redis.Redis.from_url(shared.settings.redis) as store:
            seen.append(_dump(store))  # with the state of the sign-in in it
            back = (await here.browser.get(at_issuer)).headers["location"]
            state = parse_qs(urlsplit(back).query)["state"][0]
            page = await here.browser.get(back)
            stored = await here.credentials.vault.get("alice", issuer_of("ns/crm"))
            assert stored is not None
            spent = replace(stored.token, refresh_token="spent-refresh-token", expires_at=time.time() - 1)
            await here.credentials.vault.put("alice", issuer_of("ns/crm"), spent)
            with pytest.raises(CredentialProblem) as raised:  # of a refresh token that nobody knows
                await asyncio.wait_for(here.token(), 20)
            seen.append(_dump(store))
        async with (await here.proxy.services.stores.records()).transaction() as session:
            connection = await session.connection()
            rows = await connection.exec_driver_sql("SELECT * FROM credentials")
            seen.append(repr([tuple(row) for row in rows]))
        seen += [page.text, str(raised.value), repr(raised.value), repr(here.proxy.state), caplog.text]
        seen.append(repr(here.proxy._prepared))
        for path in ("/status", "/metrics"):
            seen.append((await here.browser.get(here.public + path)).text)
    secrets = {*provider.grants.secrets, "spent-refresh-token", state, url.rpartition("/")[2]} - {SECRET}
    for number, text in enumerate(seen):
        for secret in secrets:
            if secret == raised.value.sign_in_url or (raised.value.sign_in_url or "").endswith(secret):
                continue
            assert secret not in text, f"a secret is in place {number}"


def _dump(store: "redis.Redis") -> str:
    everything = []
    for key in store.scan_iter():
        kind = store.type(key)
        everything.append((key, store.get(key) if kind == b"string" else store.dump(key)))
    return repr(everything)
