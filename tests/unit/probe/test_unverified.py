"""Replicas that serve TLS: asked by their address, where no certificate can fit, with nothing that is worth stealing."""

from mcp_operator.probe.mcp import probe
from mcp_operator.probe.status import ask_status
from mcp_operator.probe.target import Target
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import StatusReport
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.tls import Certificates
from support.gateway import make_config
from support.tls import issue

FILES = {"tls": {"certificate": {"file": "c"}, "key": {"file": "k"}}}


async def test_a_proxy_with_a_certificate_of_any_kind() -> None:
    issued = issue()
    async with Proxy(certificates=Certificates()) as proxy:
        await proxy.apply(make_config({}, revision="r1", **FILES), {"c": issued.chain, "k": issued.key})
        async with running(proxy, "127.0.0.1", 0, grace_seconds=2) as server:
            base = f"https://127.0.0.1:{server.port}"
            told = await ask_status(base, wait="r1", timeout=10)
            assert isinstance(told, StatusReport)
            assert told.revision == "r1"
            trusting = Target(url=f"{base}/mcp", transport="streamable-http", verify=False)
            assert (await probe(trusting)).error is None
            careful = (await probe(Target(url=f"{base}/mcp", transport="streamable-http"))).error
            assert careful is not None
            assert careful.error_class == "TLSFailure"
