"""`mcp-operator crds`: the same bytes as the committed files."""

from pathlib import Path

import pytest
import yaml

from mcp_operator.cli.crds import main

COMMITTED = Path(__file__).parents[3] / "crds"


def test_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == [
        yaml.safe_load((COMMITTED / f"{body['spec']['names']['plural']}.yaml").read_text()) for body in printed
    ]
    assert len(printed) == 3


def test_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "new")]) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert written == {path.name: path.read_text() for path in COMMITTED.glob("*.yaml")}
    assert main(["--output", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.count("written") == 3, "what is up to date is left alone"


def test_says_where_it_can_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file")]) == 1
    assert f"{tmp_path / 'file'}: " in capsys.readouterr().err
