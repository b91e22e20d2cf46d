"""Golden files: YAML beside the tests. `MCP_OPERATOR_RENEW_GOLDEN=1` writes them anew: look at the difference before a commit."""

import os
from pathlib import Path
from typing import Any, Final

import yaml

RENEW: Final = "MCP_OPERATOR_RENEW_GOLDEN"


def documents(path: Path) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


def check(path: Path, value: object) -> None:
    """Compare `value`, made of plain YAML types, with the file: to the byte."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    if os.environ.get(RENEW) == "1":
        path.write_text(text)
    assert text == path.read_text(), f"{RENEW}=1 renews the golden files"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - anchors make a diff hard to read
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
