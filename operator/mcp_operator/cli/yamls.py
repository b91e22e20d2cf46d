"""YAML as the command prints it: keys in their order, no anchors, texts of several lines as blocks."""

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - anchors make objects hard to read
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dumped(body: Any) -> str:
    """One document, without the line that begins it."""
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def documents(bodies: Iterable[Any]) -> str:
    """Several documents, each begun by `---`."""
    return "".join(f"---\n{dumped(body)}" for body in bodies)
