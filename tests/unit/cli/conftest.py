import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from mcp_operator.cli.main import main
from support.apiserver import ApiServer
from support.kubeconfig import kubeconfig

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """An API server that the kubeconfig of the environment names; its context has no namespace."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with ApiServer() as server:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "kubeconfig", server.url))
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a thread of its own: commands have event loops of their own."""

    async def ran(*arguments: object) -> tuple[int, str, str]:
        words: Sequence[str] = [str(argument) for argument in arguments]
        code = await asyncio.to_thread(main, words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran
