"""`mcp-operator status` against an API server in memory: formats, namespaces, exit codes, what can't be asked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.cli import colours
from mcp_operator.cli.status import main
from support.apiserver import ApiServer, Refusal
from support.kubeconfig import kubeconfig
from support.statuses import CASES
from support.waiting import Eventually

FORBIDDEN = Refusal(403, "Forbidden", "mcpservers is forbidden: nobody said you could")


def put(api: ApiServer, kind: str, case: str, name: str, namespace: str = "team-a") -> None:
    body: dict[str, Any] = json.loads(json.dumps(CASES[kind][case].body))
    body["metadata"] |= {"name": name, "namespace": namespace}
    plural = {"McpServer": "mcpservers", "McpProxy": "mcpproxies", "McpRoute": "mcproutes"}[kind]
    api.objects[f"/apis/mcp-operator.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}"] = body


@pytest.fixture
def cluster(api: ApiServer) -> ApiServer:
    put(api, "McpProxy", "ready", "tools")
    put(api, "McpServer", "ready", "time")
    put(api, "McpServer", "unhealthy", "docs", "team-b")
    return api


async def test_tables_and_tree_of_a_namespace(cluster: ApiServer, run: Any) -> None:
    code, out, err = await run("status", "-n", "team-a")
    assert (code, err) == (0, "")
    assert "McpProxies\nNAME" in out
    assert "└── /mcp\n    └── time   time_*   Ready   1 tool" in out
    assert "docs" not in out
    assert "\x1b" not in out, "no colours but on a terminal"


async def test_all_namespaces_wide(cluster: ApiServer, run: Any) -> None:
    _, out, _ = await run("status", "-A", "-o", "wide")
    assert "NAMESPACE   NAME" in out
    assert "team-a/tools   Ready" in out
    assert "McpServer team-b/docs is on no proxy" in out
    assert "Accepted=True Accepted: the spec is valid" in out


async def test_one_part_alone(cluster: ApiServer, run: Any) -> None:
    assert "└──" not in (await run("status", "-A", "-o", "table"))[1]
    assert "McpProxies" not in (await run("status", "-A", "-o", "tree"))[1]


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_for_programs(cluster: ApiServer, run: Any, form: str, read: Any) -> None:
    data = read((await run("status", "-A", "-o", form))[1])
    assert data["ready"] is False
    assert data["proxies"][0]["paths"][0]["servers"][0]["name"] == "time"


async def test_exit_code_for_scripts(cluster: ApiServer, run: Any) -> None:
    assert (await run("status", "-n", "team-a", "--exit-code"))[0] == 0
    assert (await run("status", "-A", "--exit-code"))[0] == 1
    assert (await run("status", "-A"))[0] == 0


async def test_colours_when_asked_for(cluster: ApiServer, run: Any) -> None:
    assert "\x1b[32mReady\x1b[0m" in (await run("status", "-A", "--color", "always"))[1]


async def test_nothing_there(api: ApiServer, run: Any) -> None:
    assert await run("status") == (
        0,
        "",
        "there is no McpServer, McpProxy or McpRoute in namespace default (-A shows all)\n",
    )


async def test_who_may_read_one_namespace_sees_it(cluster: ApiServer, run: Any) -> None:
    for plural in ("mcpservers", "mcpproxies", "mcproutes"):
        cluster.refuse("GET", f"/apis/mcp-operator.dev/v1alpha1/{plural}", FORBIDDEN)
    code, out, _ = await run("status", "-n", "team-a")
    assert code == 0
    assert "time_*" in out
    code, _, err = await run("status", "-A")
    assert code == 2
    assert "mcp-operator status: not allowed: " in err


async def test_no_cluster_to_ask(api: ApiServer, run: Any, tmp_path: Path) -> None:
    code, _, err = await run("status", "--kubeconfig", tmp_path / "none")
    assert (code, "none does not exist" in err) == (2, True)
    code, _, err = await run("status", "--context", "nowhere")
    assert code == 2
    assert "nowhere" in err
    elsewhere = kubeconfig(tmp_path / "other", "http://127.0.0.1:1")
    code, _, err = await run("status", "--kubeconfig", elsewhere, "--request-timeout", "5s")
    assert code == 2
    assert "mcp-operator status: " in err


async def test_definitions_that_are_missing(api: ApiServer, run: Any) -> None:
    api.refuse("GET", "/mcpproxies", Refusal(404, "NotFound", "the server could not find the requested resource"))
    code, _, err = await run("status")
    assert code == 2
    assert "is mcp-operator installed?" in err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--watch", "--exit-code"],
        ["--watch", "-o", "json"],
        ["-n", "a", "-A"],
        ["--interval", "0"],
        ["--request-timeout", "soon"],
        ["-o", "xml"],
    ],
)
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "usage: mcp-operator status" in capsys.readouterr().err


@pytest.mark.timeout(300)
async def test_watching_shows_what_changes_until_it_is_told_to_stop(
    cluster: ApiServer, tmp_path: Path, eventually: Eventually
) -> None:
    command = [sys.executable, "-m", "mcp_operator", "status", "-n", "team-a", "--watch", "--interval", "0.05"]
    out = tmp_path / "out"
    with out.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=sink,
            stderr=subprocess.PIPE,
            env=dict(os.environ),
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
    try:
        await eventually(lambda: "time_*" in out.read_text(), within=120)
        put(cluster, "McpServer", "deploying", "time")
        await eventually(lambda: "Deploying" in out.read_text(), within=120)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    shown = out.read_text()
    assert shown.count("\nMcpProxies\n") == 2, "only what changed is shown again"
    assert "\x1b" not in shown


def test_colours_are_for_terminals() -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    assert colours.paint("auto", terminal, {}).on
    assert not colours.paint("auto", terminal, {"NO_COLOR": "1"}).on
    assert not colours.paint("auto", terminal, {"TERM": "dumb"}).on
    assert not colours.paint("never", terminal, {}).on
