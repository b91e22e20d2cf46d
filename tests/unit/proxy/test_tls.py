"""The listener with TLS: a certificate from the configuration, renewed while it listens.

a call over TLS · renewed: new connections see the new one, standing ones go on; another kind of key replaces the first
what is refused: a pair that does not fit, no PEM, a key with a password, a missing file, none at all (and then it heals)
a configuration without one keeps it · when it ends, as a metric · the same with two workers, as a program
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport

from mcp_operator_proxy.certificate import BadCertificate, load
from mcp_operator_proxy.cli import main
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import Server, running
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing
from mcp_operator_proxy.tls import Certificates
from support.backends import ServedMCP, eventually
from support.gateway import make_config
from support.program import running_program, write_config
from support.tls import Issued, issue

EC, OTHER, RSA = issue(), issue(), issue("RSA")
FILES = {"tls": {"certificate": {"file": "tls.crt"}, "key": {"file": "tls.key"}}}


def files(issued: Issued) -> dict[str, str]:
    return {"tls.crt": issued.chain, "tls.key": issued.key}


def config(revision: str, url: str | None = None) -> ProxyConfig:
    return make_config({"time": url} if url else {}, revision=revision, **FILES)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Proxy, Server]]:
    async with (
        Proxy(certificates=Certificates(), warm_seconds=20) as proxy,
        running(proxy, "127.0.0.1", 0, grace_seconds=2) as server,
    ):
        yield proxy, server


async def shown(port: int, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The certificate that a new connection gets, with TLS up to `newest`."""
    context = _trusting()
    context.maximum_version = newest
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
        with contextlib.suppress(ssl.SSLError, OSError):
            await writer.wait_closed()


def _trusting(issued: Issued | None = None) -> ssl.SSLContext:
    if issued is not None:
        return ssl.create_default_context(cadata=issued.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def client(url: str, issued: Issued) -> Client[Any]:
    def factory(**options: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**{**options, "verify": _trusting(issued)})

    return Client(StreamableHttpTransport(url, httpx_client_factory=factory), timeout=20)


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("time")

    @mcp.tool
    def now() -> str:
        return "noon"

    return mcp


async def test_a_session_outlives_the_certificate() -> None:
    async with ServedMCP(tools()) as served, listening() as (proxy, server):
        await proxy.apply(config("r1", served.url), files(EC))
        url = f"https://127.0.0.1:{server.port}/mcp"
        async with client(url, EC) as before:
            assert (await before.call_tool("time_now")).data == "noon"
            assert await proxy.apply(config("r2", served.url), files(OTHER))
            assert (await before.call_tool("time_now")).data == "noon"
        async with client(url, OTHER) as after:
            assert (await after.call_tool("time_now")).data == "noon"
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|Client failed"):
            async with client(url, EC):
                pass


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_new_connections_see_the_new_one(newest: ssl.TLSVersion) -> None:
    """Of another kind of key, too: the one before is not shown any more to clients that would prefer it."""
    async with listening() as (proxy, server):
        for number, issued in enumerate((RSA, EC, RSA)):
            await proxy.apply(config(f"r{number}"), files(issued))
            assert await shown(server.port, newest=newest) == issued.der


async def test_content_that_changes_under_its_name_is_noticed() -> None:
    async with listening() as (proxy, server):
        assert await proxy.apply(config("r1"), files(EC))
        assert not await proxy.apply(config("r1"), files(EC))
        assert await proxy.apply(config("r1"), files(OTHER))
        assert await shown(server.port) == OTHER.der


def _with_password() -> str:
    key = serialization.load_pem_private_key(EC.key.encode(), None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked).decode()


REFUSED = [
    ("another key", {"tls.crt": EC.chain, "tls.key": OTHER.key}, "does not fit its key"),
    ("no certificate", {"tls.crt": "hunter2", "tls.key": EC.key}, "is no PEM certificate"),
    ("no key", {"tls.crt": EC.chain, "tls.key": "hunter2"}, "does not fit its key"),
    ("a key with a password", {"tls.crt": EC.chain, "tls.key": _with_password()}, "without a password"),
]


@pytest.mark.parametrize(("secrets", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_a_bad_pair_is_refused_and_the_last_one_stays(secrets: dict[str, str], why: str) -> None:
    async with listening() as (proxy, server):
        await proxy.apply(config("r1"), files(EC))
        with pytest.raises(ConfigRejected, match=why) as caught:
            await proxy.apply(config("r2"), secrets)
        assert "hunter2" not in str(caught.value)
        assert "PRIVATE" not in str(caught.value)
        assert await shown(server.port) == EC.der
        assert proxy.status().revision == "r1"


@pytest.mark.parametrize(("chain", "key"), [("", ""), (EC.key, EC.key)])
def test_what_is_no_certificate(chain: str, key: str) -> None:
    with pytest.raises(BadCertificate):
        load(chain.encode(), key.encode())


async def test_without_a_certificate_it_says_so_and_waits() -> None:
    async with listening() as (proxy, server), httpx2.AsyncClient(verify=_trusting()) as http:
        base = f"https://127.0.0.1:{server.port}"
        with pytest.raises(ConfigRejected, match="there is no certificate yet"):
            await proxy.apply(make_config({}, revision="r1"))
        assert (await http.get(f"{base}/healthz")).status_code == 200
        assert (await http.get(f"{base}/readyz")).status_code == 503
        with pytest.raises(SecretMissing):
            await proxy.apply(config("r2"), {"tls.crt": EC.chain})
        await proxy.apply(config("r2"), files(EC))
        assert await shown(server.port) == EC.der
        await proxy.apply(make_config({}, revision="r3"))
        assert await shown(server.port) == EC.der, "one that is taken away is kept"


async def test_plain_http_ignores_the_certificate() -> None:
    """While TLS is switched on, replicas of before still run."""
    async with Proxy() as proxy, running(proxy, "127.0.0.1", 0, grace_seconds=2) as server:
        await proxy.apply(config("r1"), {})
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/readyz")).status_code == 200


async def test_when_it_ends_is_told() -> None:
    async with listening() as (proxy, _):
        name = b"mcp_proxy_certificate_not_after_timestamp_seconds "
        assert not [line for line in proxy.metrics.render().splitlines() if line.startswith(name)]
        await proxy.apply(config("r1"), files(EC))
        (line,) = [line for line in proxy.metrics.render().splitlines() if line.startswith(name)]
        assert float(line.split()[1]) == load(EC.chain.encode(), EC.key.encode()).not_after


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_program(tmp_path: Path, workers: int) -> None:
    write_config(tmp_path, config("r1"), files(EC))
    async with running_program(tmp_path, "--tls", workers=workers) as program:
        port = int(program.base.rpartition(":")[2])
        await eventually(lambda: _all_show(port, EC))
        renewed = {f"{name}.2": value for name, value in files(OTHER).items()}
        newer = {"tls": {"certificate": {"file": "tls.crt.2"}, "key": {"file": "tls.key.2"}}}
        write_config(tmp_path, make_config({}, revision="r2", **newer), renewed)
        await eventually(lambda: _all_show(port, OTHER))
        assert program.serving() == workers, "nobody was restarted"


async def _all_show(port: int, issued: Issued) -> bool:
    return {await shown(port) for _ in range(8)} == {issued.der}


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path, config("r1"), {"tls.crt": EC.chain, "tls.key": OTHER.key})
    assert main(["check", "--config-dir", str(tmp_path)]) == 1
    assert "tls: the certificate does not fit its key" in capsys.readouterr().err
    write_config(tmp_path, config("r1"), files(EC))
    assert main(["check", "--config-dir", str(tmp_path)]) == 0
