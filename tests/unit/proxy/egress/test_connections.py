"""Egress where it counts: real sockets, names with several addresses, and a DNS that changes its mind."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError
from starlette.responses import RedirectResponse

from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target as ProbeTarget
from mcp_operator_proxy.authn.jwks import IssuerKeys
from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.network import EgressDenied, allowed, guarded_client, reach
from mcp_operator_proxy.backends.oauth import explain
from mcp_operator_proxy.config import JwtIssuer
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.fastlane.connection import BackendConnection
from mcp_operator_proxy.fastlane.pool import Pool
from support.backends import ServedApp, ServedMCP, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.tls import issue

NAME = "api.example"
STRICT = Egress()
LOOPBACK = Egress(loopback=True)
GOOD_ALONE = Egress.of(["127.0.0.1/32"])

Names = dict[str, Callable[[], list[str]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What DNS says of a name: addresses, asked for at each lookup."""
    real: Any = socket.getaddrinfo
    told: Names = {}

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if text not in told:
            return real(host, port, *arguments, **options)
        return [info for address in told[text]() for info in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return told


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("t")

    @mcp.tool
    def ping() -> str:
        return "pong"

    return mcp


class Trap:
    """Listens at an address and counts who comes."""

    def __init__(self) -> None:
        self.came = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        writer.close()


@contextlib.asynccontextmanager
async def trap(host: str, port: int = 0) -> AsyncIterator[tuple[Trap, int]]:
    found = Trap()
    async with await asyncio.start_server(found, host, port) as server:
        yield found, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("front", ["legacy", "auto"])
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_server_at_a_denied_address_is_never_connected_to_and_says_why(
    names: Names, front: str, transport: str
) -> None:
    async with ServedMCP(tools(), transport=transport) as served:
        names[NAME] = lambda: ["127.0.0.1"]
        kind = {"transport": "sse"} if transport == "sse" else {}
        url = served.url.replace("127.0.0.1", NAME)
        config = make_config({"a": url}, server=kind)
        async with running_gateway(config, egress=STRICT) as running, client(running.url, front) as through:
            (report,) = running.proxy.status().servers
            assert report.error is not None
            assert report.error.error_class == "EgressDenied"
            assert report.error.message == f"{NAME} resolves to a loopback address, which egress settings do not allow"
            with pytest.raises(MCPError):
                await through.call_tool("a_ping", {})
        assert not served.requests


@pytest.mark.parametrize("front", ["legacy", "auto"])
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_of_several_addresses_the_allowed_are_used(names: Names, front: str, transport: str) -> None:
    async with ServedMCP(tools(), transport=transport) as served:
        names[NAME] = lambda: ["10.255.0.1", "169.254.169.254", "127.0.0.1"]
        kind = {"transport": "sse"} if transport == "sse" else {}
        config = make_config({"a": served.url.replace("127.0.0.1", NAME)}, server=kind)
        async with running_gateway(config, egress=GOOD_ALONE) as running, client(running.url, front) as through:
            for _ in range(3):
                assert (await through.call_tool("a_ping", {})).data == "pong"
        hosts = {request["host"] for request in served.requests}
        assert hosts == {f"{NAME}:{served.port}"}, "the Host header names the server, not its address"


async def test_a_server_that_moves_to_a_denied_address_is_left(names: Names) -> None:
    """Between two connections; those that stand are of an allowed address."""
    async with ServedMCP(tools()) as served, trap("127.0.0.9", served.port) as (found, _):
        addresses = ["127.0.0.1"]
        names[NAME] = lambda: addresses
        config = make_config({"a": served.url.replace("127.0.0.1", NAME)}, server={"refreshSeconds": 0.2})
        async with running_gateway(config, egress=GOOD_ALONE) as running, client(running.url) as through:
            assert (await through.call_tool("a_ping", {})).data == "pong"
            addresses[:] = ["127.0.0.9"]
            served.cut()
            await eventually(lambda: (_error(running) or "") == "EgressDenied")
            with pytest.raises(MCPError) as caught:
                await through.call_tool("a_ping", {})
            assert caught.value.data == {"server": "ns/a", "errorClass": "EgressDenied", "executed": False}
        assert not found.came


def _error(running: Gateway) -> str | None:
    (report,) = running.proxy.status().servers
    return report.error.error_class if report.error else None


def alternating() -> Iterator[list[str]]:
    while True:
        yield ["127.0.0.1"]
        yield ["127.0.0.9"]


async def test_what_dns_says_after_the_check_changes_nothing(names: Names) -> None:
    async with trap("127.0.0.1") as (good, port), trap("127.0.0.9", port) as (bad, _):
        said = alternating()
        names[NAME] = lambda: next(said)
        denied = 0
        async with guarded_client(GOOD_ALONE) as http:
            for _ in range(6):
                try:
                    await http.get(f"http://{NAME}:{port}/")
                except EgressDenied:
                    denied += 1
                except httpx2.TransportError:  # the trap hangs up
                    pass
        pool = Pool(Target(url=f"http://{NAME}:{port}/mcp", egress=GOOD_ALONE))
        for _ in range(6):
            denied += isinstance(await _connected(pool), EgressDenied)
        pool.close()
        await eventually(lambda: good.came >= 6)
        assert (good.came, denied, bad.came) == (6, 6, 0), (
            "each connection asks once, and goes where the answer was checked"
        )


async def _connected(pool: Pool) -> BackendConnection | Exception:
    made: asyncio.Future[BackendConnection | Exception] = asyncio.get_running_loop().create_future()
    pool.connect(made.set_result, made.set_result)
    found = await made
    if isinstance(found, BackendConnection):
        found.close()
    return found


@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0"])
async def test_other_spellings_of_a_denied_address_are_denied(host: str) -> None:
    async with trap("127.0.0.1") as (found, port):
        async with guarded_client(STRICT) as http:
            with pytest.raises(EgressDenied):
                await http.get(f"http://{host}:{port}/")
        pool = Pool(Target(url=f"http://{host}:{port}/mcp", egress=STRICT))
        assert isinstance(await _connected(pool), EgressDenied)
        pool.close()
        assert not found.came


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://[::ffff:a9fe:a9fe]/latest", "http://127.0.0.9:1/"]
)
async def test_a_redirect_is_checked_as_any_connection(target: str) -> None:
    async with ServedApp(lambda: RedirectResponse(target, 307)) as served:
        async with guarded_client(GOOD_ALONE) as http:
            assert (await http.get(served.url)).status_code == 307
            with pytest.raises(EgressDenied):
                await http.get(served.url, follow_redirects=True)
        async with running_gateway(make_config({"a": served.url}), egress=GOOD_ALONE) as running:
            (report,) = running.proxy.status().servers
            assert report.state == "error"


async def test_an_address_that_does_not_answer_gives_way_to_the_next(names: Names) -> None:
    async with trap("127.0.0.2") as (found, port):
        names[NAME] = lambda: ["127.0.0.3", "127.0.0.2"]
        async with guarded_client(LOOPBACK) as http:
            with contextlib.suppress(httpx2.TransportError):
                await http.get(f"http://{NAME}:{port}/")
        assert found.came == 1


async def test_without_a_rule_nothing_is_resolved_here() -> None:
    async def connect(host: str) -> str:
        return host

    assert await reach(None, "no.such.name.example", 1, connect) == "no.such.name.example"


async def test_a_certificate_is_for_the_name_of_the_url(names: Names, tmp_path: Path) -> None:
    issued = issue("EC", NAME)
    (tmp_path / "c").write_text(issued.chain)
    (tmp_path / "k").write_text(issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    asked: list[str | None] = []
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    names[NAME] = lambda: ["127.0.0.1"]
    names["other.example"] = lambda: ["127.0.0.1"]
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        for url in (f"https://{NAME}:{port}/mcp", f"https://other.example:{port}/mcp"):
            target = Target(url=url, ca_bundle=issued.chain, egress=LOOPBACK)
            pool = Pool(target)
            made = await _connected(pool)
            pool.close()
            trusted = NAME in url
            assert isinstance(made, BackendConnection) == trusted
            async with guarded_client(LOOPBACK, context=ssl.create_default_context(cadata=issued.chain)) as http:
                if trusted:
                    assert (await http.get(url)).status_code == 204
                else:
                    assert isinstance(made, ssl.SSLCertVerificationError)
                    with pytest.raises(httpx2.ConnectError):
                        await http.get(url)
        assert asked == [NAME, NAME, "other.example", "other.example"]
        assert [head for head in heads if f"host: {NAME}:{port}".encode() in head.lower()]


@pytest.mark.parametrize(("url", "verify"), [("http://{}/mcp", True), ("https://{}/mcp", False)])
async def test_probes_obey_the_same_rule(url: str, verify: bool) -> None:
    async with trap("127.0.0.1") as (found, port):
        target = ProbeTarget(url=url.format(f"127.0.0.1:{port}"), verify=verify, egress=STRICT, timeout=3)
        result = await probe(target)
        assert result.error is not None
        assert result.error.error_class == "EgressDenied"
        assert not found.came


async def test_metadata_of_a_server_that_wants_authorization_is_fetched_by_the_same_rule() -> None:
    async with trap("127.0.0.1") as (found, port):
        target = Target(url=f"http://127.0.0.1:{port}/mcp", egress=STRICT)
        assert "bearer token" in (await explain(target, "Bearer realm=x") or "")
        assert not found.came


async def test_keys_of_an_issuer_are_fetched_by_the_same_rule() -> None:
    async with trap("127.0.0.1") as (found, port):
        issuer = {"name": "idp", "issuer": "https://idp.example", "audiences": ["x"]}
        keys = IssuerKeys(
            JwtIssuer.model_validate({**issuer, "jwksUrl": f"http://127.0.0.1:{port}/keys"}), lambda: None, STRICT
        )
        keys.start()
        await eventually(lambda: keys.problem is not None)
        await keys.close()
        assert "loopback address, which egress settings do not allow" in (keys.problem or "")
        assert not found.came


@pytest.mark.parametrize(
    ("mode", "allow", "rule"),
    [
        ("off", "loopback", None),
        ("enforce", "", Egress()),
        ("enforce", "loopback, 10.0.0.0/8", Egress.of(["10.0.0.0/8"], loopback=True)),
    ],
)
def test_settings_in_words(mode: str, allow: str, rule: Egress | None) -> None:
    assert Egress.parse(mode, allow, "cluster.local") == rule
    if rule is not None:
        assert Egress.parse(mode, rule.allowed, rule.cluster_domain) == rule


@pytest.mark.parametrize(("mode", "allow"), [("on", ""), ("enforce", "10.0.0.1/8"), ("off", "example.com")])
def test_settings_that_say_nothing_clear_are_refused(mode: str, allow: str) -> None:
    with pytest.raises(ValueError, match="egress"):
        Egress.parse(mode, allow, "cluster.local")


async def test_a_service_is_asked_for_by_its_whole_name(names: Names) -> None:
    names["collector.team.svc.corp.example"] = lambda: ["10.0.0.7"]
    found = await allowed(Egress(namespace="team", cluster_domain="corp.example"), "collector", 4318)
    assert found == ["10.0.0.7"]
