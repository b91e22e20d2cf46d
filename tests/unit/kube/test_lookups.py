"""The thread pool of name lookups has no part in a call, and the environment's HTTP proxy is still honoured."""

import asyncio
import threading
from pathlib import Path

import pytest

from mcp_operator.kube.client import KubeClient
from support.kubeconfig import kubeconfig


async def test_calls_do_not_wait_for_lookups(kube: KubeClient) -> None:
    """Every thread hangs, as in lookups that no server answers; calls go on."""
    loop, release = asyncio.get_running_loop(), threading.Event()
    hung = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    try:
        async with asyncio.timeout(30):
            await kube.get("/api/v1/namespaces/a/secrets/b")
    finally:
        release.set()
        await asyncio.gather(*hung)


@pytest.mark.parametrize(
    ("environment", "proxied"),
    [
        ({}, False),
        ({"http_proxy": "PROXY"}, True),
        ({"https_proxy": "PROXY"}, False),
        ({"http_proxy": "PROXY", "no_proxy": "api.example"}, False),
    ],
)
async def test_the_proxy_of_the_environment(
    api: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxied: bool
) -> None:
    address = api.url  # type: ignore[attr-defined]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("PROXY", address))
    path = kubeconfig(tmp_path / "config", "http://api.example:1")
    async with KubeClient.connect(path) as kube:
        if proxied:
            await kube.get("/api/v1/namespaces/a/secrets/b")
            assert [asked.path for asked in api.asked] == ["/api/v1/namespaces/a/secrets/b"]  # type: ignore[attr-defined]
        else:
            assert kube._api.configuration.proxy is None
