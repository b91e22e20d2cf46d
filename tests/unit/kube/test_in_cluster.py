"""As a pod: TLS with the cluster's CA, the namespace, and a service account token that the kubelet rotates."""

import datetime
import itertools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Unauthorized, Unavailable
from support.tls import make_certificate

from .conftest import Answer, ApiServer, Asked, refusal

PATH = "/api/v1/namespaces/a/configmaps/b"
LOADER = "kubernetes.aio.config.incluster_config"


@pytest.fixture
async def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[tuple[ApiServer, Path]]:
    """A TLS API server, and the folder that is mounted into the pod."""
    own = make_certificate(tmp_path)
    crt = own.certificate.rename(tmp_path / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, own.key)
    server = ApiServer()
    await server.start(context)
    (tmp_path / "token").write_text("first")
    (tmp_path / "namespace").write_text("operators\n")
    host, port = server.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(f"{LOADER}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{LOADER}.SERVICE_CERT_FILENAME", str(crt))
    monkeypatch.setattr("mcp_operator.kube.config.SERVICE_ACCOUNT", tmp_path)
    yield server, tmp_path
    await server.stop()


async def test_a_pod_speaks_with_its_token_over_verified_tls(pod: tuple[ApiServer, Path]) -> None:
    server, _ = pod
    async with KubeClient.connect() as kube:
        assert kube.namespace == "operators"
        await kube.get(PATH)
    assert server.last.headers["Authorization"] == "bearer first"


async def test_a_rotated_token_is_in_use_as_soon_as_the_old_one_is_refused(pod: tuple[ApiServer, Path]) -> None:
    server, folder = pod

    def respond(asked: Asked) -> Answer:
        good = asked.headers["Authorization"] == "bearer second"
        return Answer() if good else refusal(401, "Unauthorized", "Unauthorized")

    server.respond = respond
    async with KubeClient.connect() as kube:
        (folder / "token").write_text("second")
        await kube.get(PATH)
    assert [asked.headers["Authorization"] for asked in server.asked] == ["bearer first", "bearer second"]


async def test_a_rotated_token_is_read_each_minute_before_it_is_refused(
    pod: tuple[ApiServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = pod

    class Leaping(datetime.datetime):
        """A clock on which a day passes between two looks."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.now(tz) + datetime.timedelta(days=next(days))

    days = itertools.count(1)
    async with KubeClient.connect() as kube:
        (folder / "token").write_text("second")
        await kube.get(PATH)
        assert server.last.headers["Authorization"] == "bearer first"
        leaping = SimpleNamespace(datetime=Leaping, timedelta=datetime.timedelta)
        monkeypatch.setattr(f"{LOADER}.datetime", leaping)
        await kube.get(PATH)
        assert server.last.headers["Authorization"] == "bearer second"
        (folder / "token").unlink()
        with pytest.raises(Unauthorized, match="Service token file does not exist"):
            await kube.get(PATH)


async def test_a_server_with_another_ca_is_not_trusted(
    pod: tuple[ApiServer, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, _ = pod
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(f"{LOADER}.SERVICE_CERT_FILENAME", str(make_certificate(other).certificate))
    async with KubeClient.connect() as kube:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await kube.get(PATH)
    assert server.asked == []
