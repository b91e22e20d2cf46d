"""Secrets that many servers refer to, followed by an operator process on a real API server.

few: a stream for each · many: one stream for the namespace · by an operator of one namespace, and of the whole cluster
a change is another configuration · a deletion takes one server out, alone · its return brings it back
"""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.reconcile.datawatch import MOST_STREAMS
from support import resources
from support.beside import ONCE, operating, until

from .conftest import Kubectl

Body = dict[str, Any]
CORE = {"team": "core"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def team(cluster: Kubectl) -> Iterator[Kubectl]:
    name = f"refs-{secrets.token_hex(4)}"
    cluster("create", "namespace", name)
    yield Kubectl(name)
    cluster("delete", "namespace", name, "--wait=false")


def _secret(number: int, value: str) -> Body:
    metadata = {"name": f"token-{number}"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"header": value}}


def _server(number: int) -> Body:
    source = {"secretKeyRef": {"name": f"token-{number}", "key": "header"}}
    header = {"name": "Authorization", "valueFrom": source}
    body = resources.remote(f"s{number}", "http://127.0.0.1:9/mcp", labels=CORE, headers=[header])
    return {**body, "spec": {**body["spec"], "health": ONCE}}


def _proxy(team: Kubectl) -> Body:
    status: Body = team.json("get", "mcpp", "tools").get("status", {})
    return status


def _reason(team: Kubectl, server: str) -> tuple[str, str]:
    listed = team.json("get", "mcps", server).get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in listed if c["type"] == "ResolvedRefs"), ("", ""))


@pytest.mark.parametrize("namespaced", [True, False], ids=["of one namespace", "of the cluster"])
@pytest.mark.parametrize("count", [3, MOST_STREAMS + 8], ids=["few", "many"])
def test_secrets_are_followed(team: Kubectl, tmp_path: Path, count: int, *, namespaced: bool) -> None:
    everything = [_secret(n, "Bearer one") for n in range(count)] + [_server(n) for n in range(count)]
    everything.append(resources.proxy(selector=CORE, replicas=0))
    team("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": everything})
    with operating(tmp_path / "log", *(("--namespaces", team.namespace) if namespaced else ())):
        until(lambda: _proxy(team).get("serverCount") == count, why=lambda: _proxy(team))
        for number in (0, count - 1):
            before, changed = _proxy(team)["revision"], time.monotonic()
            team("apply", "-f", "-", body=_secret(number, "Bearer two"))
            until(lambda before=before: _proxy(team)["revision"] != before)
            print(f"another configuration {time.monotonic() - changed:.2f} s after the Secret's change")

            team("delete", "secret", f"token-{number}")
            until(lambda number=number: _reason(team, f"s{number}") == ("False", "RefNotFound"))
            until(lambda: _proxy(team).get("serverCount") == count - 1, why=lambda: _proxy(team))
            team("apply", "-f", "-", body=_secret(number, "Bearer three"))
            until(lambda: _proxy(team).get("serverCount") == count, why=lambda: _proxy(team))
            until(lambda number=number: _reason(team, f"s{number}") == ("True", "Resolved"))
    assert "Traceback" not in (tmp_path / "log").read_text()
