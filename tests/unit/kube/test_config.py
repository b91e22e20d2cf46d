"""Which configuration is found, and what is said when none is usable."""

from pathlib import Path

import pytest

from mcp_operator.kube import config
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import ConfigError

from .conftest import kubeconfig

REFRESHABLE = """
current-context: x
contexts: [{name: x, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://h"}}]
users: [{name: u, user: {auth-provider: {name: oidc, config: {refresh-token: hunter2}}}}]
"""


def test_what_is_asked_for_comes_first_then_the_variable_the_pod_and_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no KUBECONFIG, no service account of a pod and no .*home/\.kube/config"):
        config.find()
    home = tmp_path / "home" / ".kube" / "config"
    home.parent.mkdir(parents=True)
    kubeconfig(home, "http://home")
    assert config.find() == config.Source(str(home))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert config.find() == config.Source(None)
    variable = kubeconfig(tmp_path / "variable", "http://variable")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{variable}")
    assert config.find(context="other") == config.Source(f"{tmp_path}/missing:{variable}", "other")
    asked = kubeconfig(tmp_path / "asked", "http://asked")
    assert config.find(asked) == config.Source(asked)


def test_a_named_file_that_does_not_exist_is_an_error_and_not_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="missing does not exist"):
        config.find()


async def test_the_context_gives_server_token_and_namespace(tmp_path: Path) -> None:
    access = await config.load(config.Source(kubeconfig(tmp_path / "c", "http://h:1", token="t", namespace="team")))
    assert (access.configuration.host, access.namespace) == ("http://h:1", "team")
    assert access.configuration.api_key == {"BearerToken": "Bearer t"}
    assert (await config.load(config.Source(kubeconfig(tmp_path / "d", "http://h:1")))).namespace == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed"),
        ("[1, 2]", "malformed"),
        ("a: b", "current-context"),
        ("current-context: x\ncontexts: []\nclusters: []", "Expected object with name x in"),
        ("a: [", "not YAML, line 1"),
        ("users: [{user: {token: hunter2}}, {user: {}}]", "Expected key name in"),
        (REFRESHABLE, "Expected key client-id in"),
    ],
)
async def test_a_broken_file_is_described_without_its_contents(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        await config.load(config.Source(str(path)))
    assert str(caught.value).startswith(f"{path}: ")
    assert "hunter2" not in str(caught.value)


async def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", "http://h:1")
    with pytest.raises(ConfigError, match="Expected object with name nowhere"):
        await config.load(config.Source(path, "nowhere"))


async def test_a_user_without_credentials_is_let_through(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", "http://h:1", token=None)
    assert (await config.load(config.Source(path))).configuration.api_key == {}


async def test_a_pod_without_a_service_account_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(
        "kubernetes.aio.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "no-such-token")
    )
    with pytest.raises(ConfigError, match="the pod's service account: Service token file does not exist"):
        async with KubeClient.connect():
            pass
