"""The runbooks' commands on a real API server: they are understood, name fields and objects that there are, and end well.

What needs pods (logs, the proxy of the API server) or the Prometheus operator is run by tests/e2e/test_docs.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.documents import RUNBOOK, scenario
from support.reader import lines
from support.tls import issue

from .conftest import Kubectl

NOT_HERE = re.compile(r" logs |/proxy/|servicemonitor|while read")
SERVER = {"remote": {"url": "https://files.example.com/mcp"}, "canary": {"tool": "read"}}
PROXY: dict[str, Any] = {
    "servers": {"selector": {}},
    "tls": {"secretName": "tools-tls"},
    "resources": {"requests": {"cpu": "100m"}},
    "users": {"maxSessions": 50},
    "stores": {
        "redis": {"secretKeyRef": {"name": "stores", "key": "redis"}},
        "database": {"secretKeyRef": {"name": "stores", "key": "database"}},
        "encryptionKeys": [{"secretKeyRef": {"name": "stores", "key": "key"}}],
    },
}
COMMANDS = [line for line in lines(*scenario(RUNBOOK)) if not NOT_HERE.search(line)]


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> str:
    """With what the runbooks look at, in the place of both namespaces."""
    issued = issue()
    labels = {"app": "operator"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example.invalid/none:1"}]}}
    bodies: list[dict[str, Any]] = [
        _ours("McpServer", "files", SERVER),
        _ours("McpProxy", "tools", PROXY),
        _ours("McpRoute", "all", {"parentRefs": [{"name": "tools"}], "servers": [{"name": "files"}]}),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tools-tls"},
            "stringData": {"tls.crt": issued.chain, "tls.key": issued.key},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "tools-proxy"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        },
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mcp-operator-leader"}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "mcp-operator"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        },
    ]
    for body in bodies:
        kubectl("apply", "-f", "-", body=body)
    return kubectl.namespace


def test_there_are_enough_of_them() -> None:
    assert len(COMMANDS) > 25
    assert len([line for line in COMMANDS if "jsonpath" in line]) > 8


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_the_command_ends_well(namespace: str, line: str) -> None:
    command = line.replace("team-a", namespace).replace("mcp-system", namespace)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=90, env=environment
    )
    if " auth can-i " in command:
        assert done.stdout.strip() in {"yes", "no"}, done.stderr
        return
    said = [line for line in done.stderr.splitlines() if not line.startswith("No resources found")]
    assert (done.returncode, said) == (0, [])
    jsonpath = re.search(r"\{(\.spec\.[\w.]+)\}", command)
    if jsonpath and "mcpp" in command and not re.search(r"providers|autoscaling|ingress", command):
        assert done.stdout.strip(), "the field has a value here"
