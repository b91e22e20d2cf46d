"""A configuration with 10,240 overrides, written by the operator to a real API server and read by a real proxy.

in pieces, where they hardly compress · in one ConfigMap, where they do · as text again, when most are gone
"""

import base64
import json
import random
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.swap.read import read_folder
from mcp_operator_proxy.swap.validate import NotThereYet
from support import resources
from support.beside import ONCE, operating, until
from support.program import running_program

from .conftest import Kubectl

Body = dict[str, Any]
ROUTES, SERVERS, OVERRIDES = 10, 8, 128
LIMIT = 1024 * 1024
"""Bytes that Kubernetes lets a ConfigMap hold."""


@pytest.fixture
def team(cluster: Kubectl) -> Iterator[Kubectl]:
    name = f"large-{random.randbytes(4).hex()}"
    cluster("create", "namespace", name)
    found = Kubectl(name)
    remotes = [resources.remote(f"s{number}", "http://127.0.0.1:9/mcp") for number in range(SERVERS)]
    bodies = [{**body, "spec": {**body["spec"], "health": ONCE}} for body in remotes]
    together = {"apiVersion": "v1", "kind": "List", "items": [*bodies, resources.proxy(replicas=0)]}
    found("apply", "-f", "-", body=together)
    yield found
    cluster("delete", "namespace", name, "--wait=false")


def _noise(seed: int) -> str:
    """160 characters that hardly compress."""
    return base64.b64encode(random.Random(seed).randbytes(120)).decode()


def _words(seed: int) -> str:
    return f"Read the page number {seed} of the handbook. " * 4


def _have(team: Kubectl, describe: Callable[[int], str], routes: int = ROUTES) -> None:
    """Exactly so many routes; each shows every server with new words for each of its tools."""
    bodies = []
    for route in range(routes):
        servers = []
        for server in range(SERVERS):
            first = (route * SERVERS + server) * OVERRIDES
            overrides = [{"name": f"t{n}", "description": describe(first + n)} for n in range(OVERRIDES)]
            servers.append({"name": f"s{server}", "tools": {"overrides": overrides}})
        bodies.append(resources.route(f"r{route}", *servers, path=f"/r{route}/mcp"))
    together = {"apiVersion": "v1", "kind": "List", "items": bodies}
    team("apply", "--server-side", "--force-conflicts", "-f", "-", body=together)
    team("delete", "mcpr", "--ignore-not-found", *(f"r{route}" for route in range(routes, ROUTES + 1)))


def _maps(team: Kubectl) -> dict[str, dict[str, bytes]]:
    """Files of each ConfigMap that the operator made."""
    items = team.json("get", "configmaps", "-l", "app.kubernetes.io/managed-by=mcp-operator")["items"]
    return {
        item["metadata"]["name"]: {
            **{file: text.encode() for file, text in (item.get("data") or {}).items()},
            **{file: base64.b64decode(text) for file, text in (item.get("binaryData") or {}).items()},
        }
        for item in items
    }


def _files(team: Kubectl) -> list[list[str]]:
    """Names of the files of each ConfigMap, without the revision in them."""
    revision, maps = _revision(team), _maps(team)
    return [[file.replace(revision, "R") for file in sorted(maps[name])] for name in sorted(maps)]


def _revision(team: Kubectl) -> str:
    return str(team.json("get", "mcpp", "tools").get("status", {}).get("revision", "none yet"))


def _volume(team: Kubectl, folder: Path) -> Path:
    """ConfigMaps and Secret of the proxy, as the kubelet projects them."""
    folder.mkdir()
    secret = team.json("get", "secret", "tools-proxy-secrets")["data"]
    files = [*_maps(team).values(), {file: base64.b64decode(text) for file, text in secret.items()}]
    assert all(sum(map(len, content.values())) < LIMIT for content in files)
    for file, content in (pair for part in files for pair in part.items()):
        (folder / file).write_bytes(content)
    return folder


def _whole(team: Kubectl, folder: Path, describe: Callable[[int], str], routes: int) -> Path | None:
    """The volume, when every override of so many routes is in it, each in its words of now."""
    try:
        config = json.loads(read_folder(_volume(team, folder)).config)
    except NotThereYet:
        return None
    servers = [server for route in config["routes"] for server in route.get("servers", ())]
    overrides = [override for server in servers for override in server.get("tools", {}).get("overrides", ())]
    wanted = {describe(number) for number in range(routes * SERVERS * OVERRIDES)}
    is_whole = len(overrides) == len(wanted) and {override["description"] for override in overrides} == wanted
    return folder if is_whole else None


async def _status(folder: Path, revision: str) -> Body:
    """What a proxy that finds this tells of itself, once it has made something of it."""
    wait = {"wait": revision, "timeout": "30"}
    async with running_program(folder, workers=1) as program, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        found: Body = (await client.get(f"{program.base}/status", params=wait)).json()
    return found


PIECES = [["config.json.gz.R.0", "config.json.gz.index"], ["config.json.gz.R.1"]]
pytestmark = pytest.mark.timeout(300)
STEPS: list[tuple[Callable[[int], str], int, list[list[str]]]] = [
    (_noise, ROUTES, PIECES),
    (_words, ROUTES, [["config.json.gz"]]),
    (_noise, 2, [["config.json"]]),
]


async def test_ten_thousand_overrides(team: Kubectl, tmp_path: Path) -> None:
    with operating(tmp_path / "log") as operator:
        for number, (describe, routes, files) in enumerate(STEPS):
            began = time.monotonic()
            _have(team, describe, routes)
            applied = time.monotonic()
            until(lambda files=files: operator.idle() and _files(team) == files, within=60, why=lambda: _files(team))
            folders = (tmp_path / f"{number}-{look}" for look in count())
            volume = until(
                lambda folders=folders, wanted=(describe, routes): _whole(team, next(folders), *wanted), within=60
            )
            written = time.monotonic()
            status = await _status(volume, _revision(team))
            assert status["revision"] == _revision(team), status.get("rejected")
            assert len(status["routes"]) == routes + 1
            times = (applied - began, written - applied, time.monotonic() - written)
            print("applied in {:.1f} s, written after {:.1f} s, read and served after {:.1f} s".format(*times))
