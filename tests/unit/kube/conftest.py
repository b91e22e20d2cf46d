"""A loopback HTTP server in the API server's place: it records what it is asked and answers what the test says."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from mcp_operator.kube.client import KubeClient


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    delay: asyncio.Event | None = None


Respond = Callable[[Asked], Answer]


def refusal(code: int, reason: str, message: str, **details: Any) -> Answer:
    """A failure as the API server words it."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    return Answer(code, {**status, "reason": reason, "message": message, "details": details})


class ApiServer:
    """Answers with `respond(asked)`; by default with the object that was sent."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.respond: Respond = lambda asked: Answer(body=asked.body or {})
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""
        self._runner: web.AppRunner | None = None

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        payload = await request.read()
        asked = Asked(
            request.method,
            request.rel_url.raw_path,
            list(request.query.items()),
            dict(request.headers),
            json.loads(payload) if payload else None,
        )
        self.asked.append(asked)
        answer = self.respond(asked)
        if answer.delay is not None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await answer.delay.wait()
            self.at_once -= 1
        if isinstance(answer.body, bytes):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)


def kubeconfig(path: Path, server: str, *, token: str | None = "a-token", namespace: str | None = None) -> str:
    context = {"cluster": "c", "user": "u"} | ({"namespace": namespace} if namespace else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ctx",
        "contexts": [{"name": "ctx", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token} if token else {}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, cluster or kubeconfig of the machine has a part in these tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def kube(api: ApiServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    async with KubeClient.connect(kubeconfig(tmp_path / "config", api.url, namespace="team-a")) as client:
        yield client
