"""Two operator pods, as the chart makes them: a leader whose process is killed is followed, and nothing is done twice."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kubectl import Namespace, eventually
from support.product import BACKEND_IMAGE, RELEASE, SYSTEM
from support.resources import container

CHART = Path(__file__).parents[2] / "charts" / "mcp-operator"
SERVERS = 6

pytestmark = pytest.mark.skipif(
    "MCP_OPERATOR_CLUSTER" not in os.environ, reason="processes of another cluster's nodes are out of reach"
)


def _helm(*values: str) -> None:
    command = ["helm", "upgrade", RELEASE, str(CHART), "--namespace", SYSTEM, "--reuse-values", "--wait", *values]
    subprocess.run(command, check=True, timeout=180, capture_output=True)


@pytest.fixture
def system() -> Iterator[Namespace]:
    """The namespace of the release, with two pods."""
    _helm("--set", "replicas=2")
    yield Namespace(SYSTEM)
    _helm("--set", "replicas=1")


def _holder(system: Namespace) -> str:
    return str(system.get("lease", f"{RELEASE}-leader")["spec"].get("holderIdentity") or "")


def _process_of(pod: str) -> int:
    """The operator's process in a pod: its host name is the pod's."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"HOSTNAME={pod}".encode() in environment.split(b"\0") and b"mcp-operator" in command:
            return int(folder.name)
    raise AssertionError(f"no process of {pod}")


def _converged(namespace: Namespace, count: int) -> bool:
    servers = namespace.listed("mcpservers")
    told = [s for s in servers if (s.get("status") or {}).get("observedGeneration") == s["metadata"]["generation"]]
    return len(told) == count == len(namespace.listed("services"))


def test_a_killed_leader_is_followed(system: Namespace, namespace: Namespace) -> None:
    eventually(lambda: _holder(system))
    first = _holder(system)
    namespace.apply(*(container(f"s{number}", BACKEND_IMAGE) for number in range(SERVERS)))
    eventually(lambda: namespace.listed("services"))
    os.kill(_process_of(first.partition("_")[0]), signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: _holder(system) not in ("", first), timeout=90)
    print(f"a leader that was killed was followed after {time.monotonic() - killed:.1f} s")
    eventually(lambda: _converged(namespace, SERVERS), timeout=90)
    for body in namespace.listed("services"):
        fields = namespace.run(
            "get",
            "service",
            body["metadata"]["name"],
            "--show-managed-fields",
            "-o",
            "jsonpath={.metadata.managedFields[*].manager}",
        )
        assert fields.split() == ["mcp-operator"], "one write made it"
    told = Counter((e["involvedObject"]["name"], e["reason"], e["message"]) for e in _events_of_servers(namespace))
    assert [what for what, count in told.items() if count > 1] == []
    transitions = system.get("lease", f"{RELEASE}-leader")["spec"]["leaseTransitions"]
    assert transitions >= 1


def _events_of_servers(namespace: Namespace) -> list[dict[str, object]]:
    return [event for event in namespace.listed("events") if event["involvedObject"]["kind"] == "McpServer"]
