"""TLS in the pods: a certificate that is renewed while clients talk to them, and nobody is restarted."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from support.kubectl import Namespace, eventually
from support.resources import proxy, remote
from support.tls import Issued, issue

CORE = {"team": "core"}
PODS = "mcp-operator.dev/proxy=tools"


def secret(issued: Issued) -> dict[str, Any]:
    data = {"tls.crt": issued.chain, "tls.key": issued.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cert"},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
    }


def client(url: str, *trusted: Issued) -> Client[Any]:
    """One that trusts these certificates, of any name."""
    context = ssl.create_default_context(cadata="".join(issued.chain for issued in trusted))
    context.check_hostname = False

    def factory(**options: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**{**options, "verify": context})

    return Client(StreamableHttpTransport(url, httpx_client_factory=factory), timeout=20)


def shown_by_pods(namespace: Namespace) -> list[bytes | None]:
    """The certificate that a new connection gets, by each replica."""
    return [shown(f"https://{pod['status']['podIP']}:8080") for pod in namespace.pods(PODS)]


def shown(url: str) -> bytes | None:
    """The certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(url)
    with (
        socket.create_connection((parts.hostname, parts.port or 443), timeout=20) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return connection.getpeercert(binary_form=True)


def lives(namespace: Namespace) -> list[tuple[str, int]]:
    return sorted(
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in namespace.pods(PODS)
    )


def test_a_renewed_certificate_is_in_use_without_a_restart(namespace: Namespace, backend: Callable[..., str]) -> None:
    """The Secret comes after the proxy, which says what it waits for; then it is renewed under a client's session."""
    first, second = issue("RSA"), issue("EC")
    spec = {"replicas": 2, "tls": {"secretName": "cert"}}
    namespace.apply(remote("one", backend("one"), labels=CORE), proxy(selector=CORE, **spec))
    namespace.wait("mcpp", "tools", "ResolvedRefs", "False", reason="RefNotFound")
    namespace.apply(secret(first))
    namespace.wait("mcpp", "tools", "Ready")
    assert namespace.get("mcpp", "tools")["status"]["url"] == f"https://tools-proxy.{namespace.name}.svc/mcp"
    url = namespace.service_url("tools-proxy", "/mcp").replace("http://", "https://", 1)
    before = lives(namespace)

    async def scenario() -> None:
        async with client(url, first) as through:
            assert (await through.call_tool("one_hello")).data == "one/hello"
            await asyncio.to_thread(namespace.apply, secret(second))
            await asyncio.to_thread(eventually, lambda: shown_by_pods(namespace) == [second.der] * 2)
            assert shown(url) == second.der
            assert (await through.call_tool("one_hello")).data == "one/hello"
        async with client(url, second) as renewed:
            assert (await renewed.call_tool("one_hello")).data == "one/hello"

    asyncio.run(scenario())
    assert lives(namespace) == before
    broken = {**secret(second), "data": {**secret(second)["data"], "tls.key": secret(first)["data"]["tls.key"]}}
    namespace.apply(broken)
    namespace.wait("mcpp", "tools", "ResolvedRefs", "False", reason="InvalidValue")
    assert shown_by_pods(namespace) == [second.der] * 2
    namespace.wait("mcpp", "tools", "Programmed")
