"""`mcp-operator render`: the objects as golden files, and what is said of bad input.

After a deliberate change, write the golden files anew:  RENDER_GOLDEN=write pytest tests/unit/cli/test_render.py
"""

import base64
import io
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.cli.render import MASKED, main
from mcp_operator_proxy import configfiles
from support import resources
from support.manifests import EXAMPLES, example_folders

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = example_folders()
TAKES_AWAY = "spec: {container: {image: x}, podTemplate: {spec: {containers: [{name: server, image: y}]}}}\n"
HEAD = "apiVersion: mcp-operator.dev/v1alpha1\nkind: McpServer\nmetadata: {name: time}\n"


def render(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def objects(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_example_renders_as_its_golden_file(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = render(capsys, "-f", EXAMPLES / folder, "--proxy-image", "proxy:1", "--runner-image", "runner:1")
    golden = GOLDEN / f"{folder}.yaml"
    if os.environ.get("RENDER_GOLDEN") == "write":
        golden.write_text(out)
    assert out == golden.read_text()
    foreign = [line for line in err.splitlines() if line.endswith("is not used here: ignored")]
    assert (code, err.splitlines()) == (0, foreign)


def test_the_order_of_files_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((EXAMPLES / "quickstart").glob("*.yaml"))
    forth = render(capsys, *(part for file in files for part in ("-f", file)))
    back = render(capsys, *(part for file in reversed(files) for part in ("-f", file)))
    assert forth == back
    config = next(o for o in objects(forth[1]) if o["kind"] == "ConfigMap")
    assert (
        json.loads(config["data"]["config.json"])["revision"]
        == config["metadata"]["annotations"]["mcp-operator.dev/config-revision"]
    )


def test_a_configuration_that_is_too_large_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configfiles, "PART_BYTES", 500)
    draw = random.Random(0)
    bodies = [resources.remote("one", "https://one/mcp"), resources.proxy(), resources.proxy("small")]
    overrides = [{"name": f"t{n}", "description": draw.randbytes(32).hex()} for n in range(128)]
    bodies.append(resources.route("extra", {"name": "one", "tools": {"overrides": overrides}}))
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(bodies))
    _, out, err = render(capsys, "-f", tmp_path / "all.yaml")
    assert {o["metadata"]["name"] for o in objects(out) if o["kind"] == "Deployment"} == {"small-proxy"}
    assert "McpProxy default/tools: it can't be applied: the configuration has" in err


def test_secrets_are_masked_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    _, masked, _ = render(capsys, "-f", EXAMPLES / "remote")
    _, open_, _ = render(capsys, "-f", EXAMPLES / "remote", "--show-secrets")
    value = base64.b64encode(b"Bearer replace-me").decode()
    assert value not in masked
    assert "replace-me" not in masked
    (hidden,) = (o["data"] for o in objects(masked) if o["kind"] == "Secret")
    assert set(hidden.values()) == {MASKED}
    (shown,) = (o["data"] for o in objects(open_) if o["kind"] == "Secret")
    session_key = shown.pop("session-key")
    assert set(shown.values()) == {value}
    assert len(base64.b64decode(session_key)) >= 32
    assert hidden.pop("session-key") == MASKED
    assert hidden.keys() == shown.keys()


def test_nothing_that_only_the_cluster_knows(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = render(capsys, "-f", EXAMPLES / "routes", "-n", "team")
    for body in objects(out):
        assert "ownerReferences" not in body["metadata"]
        assert body["metadata"]["namespace"] == "team"


PROBLEMS = {
    "a missing Secret": (
        HEAD + "spec: {stdio: {command: x, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}}\n",
        0,
        "a.yaml:1: McpServer default/time: Secret default/s is not found; create it with the key k",
    ),
    "a missing proxy": (
        HEAD.replace("McpServer", "McpRoute") + "spec: {parentRefs: [{name: gone}], servers: [{name: x}]}\n",
        0,
        "McpProxy default/gone is not found",
    ),
    "a missing server": (
        HEAD.replace("McpServer", "McpProxy")
        + "---\n"
        + HEAD.replace("McpServer", "McpRoute")
        + "spec: {parentRefs: [{name: time}], servers: [{name: x}]}\n",
        0,
        "a.yaml:5: McpRoute default/time: McpServer default/x is not found; create it or mend the name",
    ),
    "a selector that finds nothing": (
        HEAD.replace("McpServer", "McpProxy")
        + "---\n"
        + HEAD.replace("McpServer", "McpRoute")
        + "spec: {parentRefs: [{name: time}], servers: [{selector: {}}]}\n",
        0,
        "a.yaml:5: McpRoute default/time: no McpServer matches",
    ),
    "a template that takes away": (HEAD + TAKES_AWAY, 0, "the container server gets its image from the resource"),
    "an invalid manifest": (HEAD + "spec:\n  stdio: {command: x, argz: []}\n", 1, "a.yaml:5: McpServer default/time: spec.stdio.argz"),
    "no YAML": ("a: [", 1, "a.yaml:2: not YAML"),
    "nothing of ours": ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", 0, "there is no McpServer, McpProxy or McpRoute in it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "says"), PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.usefixtures("_in_an_empty_folder")
def test_problems_go_to_standard_error(text: str, code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(text)
    ended, _, said = render(capsys, "-f", "a.yaml")
    assert says in said
    assert ended == code


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_valid_is_printed_beside_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        HEAD + "spec: {stdio: {command: x}}\n---\n" + HEAD.replace("time", "bad") + "spec: {}\n"
    )
    code, out, _ = render(capsys, "-f", tmp_path)
    assert code == 1
    assert {o["metadata"]["name"] for o in objects(out)} == {"time-server", "time-server-identity"}


def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{HEAD}spec: {{stdio: {{command: x}}}}\n".encode())))
    code, out, err = render(capsys, "-f", "-")
    assert (code, err) == (0, "")
    assert [o["kind"] for o in objects(out)] == ["Secret", "Deployment", "Service"]


def test_a_path_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = render(capsys, "-f", "/nowhere/x")
    assert (code, out) == (2, "")
    assert "/nowhere/x: there is no such file or folder" in err
