"""From an McpServer to a command line and an environment, and what can't run on one machine."""

import sys
from typing import Any

import pytest

from mcp_operator.api.meta import API_VERSION
from mcp_operator.api.resources import McpServer, parse
from mcp_operator.compile import DataObject, DataObjects
from mcp_operator.conditions.reasons import Reason
from mcp_operator.engine.keys import Key
from mcp_operator.local.catalogue import Snapshot, with_identities
from mcp_operator.local.launch import CannotRun, Launch, expanded, launch, passed_on

OBJECTS: DataObjects = {
    ("Secret", "default", "s"): DataObject("1", {"token": b"hunter2", "binary": b"\xff", "nul": b"a\0b"}),
    ("ConfigMap", "default", "c"): DataObject("1", {"page": b"20"}),
}


def server(spec: dict[str, Any]) -> McpServer:
    body = {"apiVersion": API_VERSION, "kind": "McpServer", "metadata": {"name": "time"}, "spec": spec}
    found = parse(body, strict=True)
    assert isinstance(found, McpServer)
    return found


def launched(spec: dict[str, Any], **base: str) -> Launch:
    found = launch(server(spec), OBJECTS, base)
    assert found is not None
    return found


def test_stdio_runs_under_the_bridge() -> None:
    found = launched({"stdio": {"command": "uvx", "args": ["mcp-server-time"]}, "isolation": "session"}, PATH="/bin")
    command = found.command(4711)
    assert command[:4] == (sys.executable, "-P", "-m", "mcp_operator_proxy.bridge")
    assert command[command.index("--port") + 1] == "4711"
    assert command[command.index("--isolation") + 1] == "session"
    assert command[command.index("--") + 1 :] == ("uvx", "mcp-server-time")
    assert found.environment == {"PATH": "/bin"}
    assert (found.port, found.ready_path) == (None, "/readyz")


def test_a_process_for_each_user_has_a_bridge_that_knows_who_vouches() -> None:
    spec = {"stdio": {"command": "uvx"}, "isolation": "user"}
    known = {("Secret", "default", "time-server-identity"): DataObject("1", {"key": b"k" * 64})}
    found = launch(server(spec), {**OBJECTS, **known}, {})
    assert found is not None
    assert found.environment == {"MCP_BRIDGE_IDENTITY_KEY": "k" * 64}
    assert "k" * 64 not in " ".join(found.command(1))


def test_each_bridge_has_a_key_of_its_own_for_who_reads_its_logs() -> None:
    one, other = server({"stdio": {"command": "uvx"}}), server({"stdio": {"command": "uvx"}})
    other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"name": "other"})})
    resources = {Key("McpServer", "default", each.metadata.name): each for each in (one, other)}
    objects = with_identities(Snapshot(resources=resources), b"one of this run").objects
    keys = [
        found.environment["MCP_BRIDGE_IDENTITY_KEY"] for each in (one, other) if (found := launch(each, objects, {}))
    ]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {64}


def test_a_container_with_a_command_runs_on_its_own_port() -> None:
    found = launched({"container": {"image": "x", "command": ["serve"], "args": ["--port", "$(PORT)"], "port": 9000}})
    assert found.command(9000)[-3:] == ("serve", "--port", "9000")
    assert found.environment["PORT"] == "9000"
    assert (found.port, found.ready_path, found.path) == (9000, None, "/mcp")


def test_a_container_without_a_command_can_not() -> None:
    with pytest.raises(CannotRun, match=r"set spec\.container\.command") as refusal:
        launch(server({"container": {"image": "registry.example.com/x:1"}}), OBJECTS, {})
    assert refusal.value.reason == Reason.UNSUPPORTED_VALUE


def test_a_remote_one_needs_nothing() -> None:
    assert launch(server({"remote": {"url": "http://x.example.com/mcp"}}), OBJECTS, {}) is None


def test_variables_of_every_source_and_their_expansion() -> None:
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
        {"name": "PAGE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "page"}}},
        {"name": "BOTH", "value": "$(TOKEN)-$(PAGE)-$(LATER)-$$(PAGE)"},
        {"name": "LATER", "value": "x"},
        {"name": "HOME", "value": "/own"},
    ]
    stdio = {"command": "run", "args": ["$(BOTH)", "$(HOME)", "$(PATH)"], "env": env}
    found = launched({"stdio": stdio}, HOME="/home/me", PATH="/bin")
    assert found.environment["BOTH"] == "hunter2-20-$(LATER)-$(PAGE)"
    assert found.environment["HOME"] == "/own"
    assert found.command(1)[-3:] == ("hunter2-20-$(LATER)-$(PAGE)", "/own", "$(PATH)"), "only its own variables count"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        (
            {"secretKeyRef": {"name": "s", "key": "gone"}},
            Reason.REF_NOT_FOUND,
            "key gone of Secret default/s is not found",
        ),
        (
            {"configMapKeyRef": {"name": "x", "key": "k"}},
            Reason.REF_NOT_FOUND,
            "key k of ConfigMap default/x is not found",
        ),
        ({"secretKeyRef": {"name": "s", "key": "binary"}}, Reason.INVALID_VALUE, "is not UTF-8 text"),
        ({"secretKeyRef": {"name": "s", "key": "nul"}}, Reason.INVALID_VALUE, "holds a NUL character"),
    ],
)
def test_values_that_are_no_variables(source: dict[str, Any], reason: Reason, says: str) -> None:
    stdio = {"command": "run", "env": [{"name": "X", "valueFrom": source}]}
    with pytest.raises(CannotRun, match=says) as refusal:
        launch(server({"stdio": stdio}), OBJECTS, {})
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(C)", "$(C)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_expands_as_kubernetes_does(text: str, result: str) -> None:
    assert expanded(text, {"A": "1", "B": "2"}) == result


def test_passes_on_what_programs_need_and_no_credentials() -> None:
    mine = {
        *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "UV_CACHE_DIR", "npm_config_registry"),
        *("https_proxy", "NO_PROXY", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"),
    }
    others = {
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "OPENAI_API_KEY",
        "PYTHONPATH",
        "LD_PRELOAD",
        "KUBECONFIG",
        "SSH_AUTH_SOCK",
    }
    assert set(passed_on(dict.fromkeys(mine | others, "x"))) == mine


def test_whole_objects_in_the_environment() -> None:
    sources = [{"configMapRef": {"name": "c"}, "prefix": "C_"}, {"secretRef": {"name": "gone", "optional": True}}]
    own = [{"name": "C_page", "value": "own"}, {"name": "D", "value": "$(C_page)"}]
    found = launched({"stdio": {"command": "x", "envFrom": sources, "env": own}})
    assert found.environment == {"C_page": "own", "D": "own"}
    found = launched({"container": {"image": "x", "command": ["y"], "envFrom": sources[:1]}})
    assert found.environment == {"PORT": "8080", "C_page": "20"}


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        (
            {"stdio": {"command": "x", "envFrom": [{"secretRef": {"name": "gone"}}]}},
            Reason.REF_NOT_FOUND,
            "Secret default/gone",
        ),
        (
            {"stdio": {"command": "x", "envFrom": [{"secretRef": {"name": "s"}}]}},
            Reason.INVALID_VALUE,
            "key binary of Secret",
        ),
        ({"stdio": {"command": "x", "image": "y"}}, Reason.UNSUPPORTED_VALUE, "image y can't run without a cluster"),
        ({"stdio": {"command": "x"}, "isolation": "user"}, Reason.REF_NOT_FOUND, "a key that vouches for users"),
        (
            {
                "stdio": {
                    "command": "x",
                    "files": [{"path": "/etc/x/y", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}],
                }
            },
            Reason.UNSUPPORTED_VALUE,
            "files need a cluster",
        ),
    ],
)
def test_what_can_not_run_here(spec: dict[str, Any], reason: Reason, says: str) -> None:
    with pytest.raises(CannotRun, match=says) as refusal:
        launch(server(spec), OBJECTS, {})
    assert refusal.value.reason == reason
