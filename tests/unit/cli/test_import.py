"""`mcp-operator import`: files of clients as golden manifests, where credentials go, files that are no such thing.

MCP_OPERATOR_RENEW_GOLDEN=1 writes the golden files anew.
"""

import io
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from mcp_operator.cli.import_file import main
from mcp_operator.cli.main import main as program
from mcp_operator.cli.render import compile_all, problems
from mcp_operator.local.catalogue import Catalogue
from mcp_operator.local.files import ManifestFiles
from support.golden import RENEW

HERE = Path(__file__).parent
CLIENTS = sorted((HERE / "clients").iterdir())


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def golden(name: str, text: str) -> None:
    path = HERE / "golden" / "import" / name
    if os.environ.get(RENEW) == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{RENEW}=1 renews it"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda path: path.stem)
def test_golden_manifests(client: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, client)
    golden(f"{client.stem}.yaml", out)
    golden(f"{client.stem}.txt", err)
    assert code == (1 if client.stem == "vscode" else 0), "docker can't be imported"
    assert "hunter2" not in out + err


@pytest.mark.parametrize("client", CLIENTS, ids=lambda path: path.stem)
def test_the_output_is_what_local_mode_and_render_can_use(
    client: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, client, "-o", tmp_path / "servers.yaml", "--secrets-file", tmp_path / "secrets.yaml")
    snapshot = Catalogue().update(ManifestFiles([tmp_path], "default").read(), datetime.now(UTC))
    assert snapshot.diagnostics == ()
    assert list(problems(snapshot, compile_all(snapshot))) == []
    (compiled,) = compile_all(snapshot).values()
    assert len(compiled.config.servers) == len(snapshot.servers) >= 2


def test_credentials_go_into_a_file_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = tmp_path / "secrets.yaml"
    code, out, err = run(capsys, HERE / "clients" / "desktop.json", "--secrets-file", secrets, "-n", "team")
    assert code == 0
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert "hunter2" not in out + err
    bodies = list(yaml.safe_load_all(secrets.read_text()))
    assert {body["kind"] for body in bodies} == {"Secret"}
    assert {body["metadata"]["namespace"] for body in bodies} == {"team"}
    held = {key: value for body in bodies for key, value in body["stringData"].items()}
    assert held["GITHUB_PERSONAL_ACCESS_TOKEN"] == "ghp_hunter2hunter2hunter2"
    assert held["Authorization"] == "Bearer hunter2hunter2"
    assert "kind: Secret" not in out
    assert "keep it out of Git" in err


def test_files_that_are_there_stay_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text("mine")
    secrets.chmod(0o644)
    arguments = (HERE / "clients" / "desktop.json", "--secrets-file", secrets)
    code, _, err = run(capsys, *arguments)
    assert (code, secrets.read_text()) == (2, "mine")
    assert f"{secrets}: File exists" in err
    assert run(capsys, *arguments, "--force")[0] == 0
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600


def test_no_secrets_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, HERE / "clients" / "desktop.json", "--no-secrets", "--no-proxy", "--include-disabled")
    assert code == 0
    bodies = list(yaml.safe_load_all(out))
    assert {body["kind"] for body in bodies} == {"McpServer"}
    assert "filesystem" in {body["metadata"]["name"] for body in bodies}
    assert "Secrets that are not written: github-credentials, postgres-credentials, company-docs-credentials" in err


def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = b'{"mcpServers": {"a": {"command": "npx"}}}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    code = program(["import", "-", "--proxy", "mine"])
    bodies = list(yaml.safe_load_all(capsys.readouterr().out))
    assert (code, [body["metadata"]["name"] for body in bodies]) == (0, ["a", "mine"])


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "not JSON"), (b"{}", "holds no mcpServers"), (b" " * (2**20 + 1), "larger than 1 MiB")],
)
def test_files_that_are_no_clients(
    content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    code, out, err = run(capsys, tmp_path / "a.json")
    assert (code, out) == (2, "")
    assert says in err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tmp_path / "no.json")[0::2] == (
        2,
        f"mcp-operator import: {tmp_path / 'no.json'}: No such file or directory\n",
    )


def test_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('{"mcpServers": {}}')
    assert run(capsys, tmp_path / "a.json") == (0, "", "there is no server in it\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["x", "--proxy", "No Name"],
        ["x", "-n", "A"],
        [],
        ["x", "--no-secrets", "--secrets-file", "y"],
        ["x", "--secrets-file", "y", "-o", "./y", "--force"],
    ],
)
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "usage: mcp-operator import" in capsys.readouterr().err
