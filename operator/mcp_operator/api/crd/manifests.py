"""The CRDs as files: rendered to the byte, written, or compared with what stands there."""

from pathlib import Path
from typing import Final

import yaml

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition

COMMAND: Final = "python -m mcp_operator.api.crd"
HEADER: Final = f"# Generated from operator/mcp_operator/api by `{COMMAND} DIR...`; do not edit.\n"


def file_names() -> dict[str, meta.Kind]:
    """File name of every kind's CRD."""
    return {f"{kind.plural}.yaml": kind for kind in meta.KINDS}


def render(kind: meta.Kind) -> str:
    """The file of one CRD: equal models give equal bytes."""
    body = yaml.safe_dump(definition(kind), sort_keys=False, allow_unicode=True, width=120)
    return f"{HEADER}{body}"


def write(folder: Path) -> list[Path]:
    """Write every CRD into the folder; the paths of files that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    stale = outdated(folder)
    for path in stale:
        path.write_text(render(file_names()[path.name]), encoding="utf-8")
    return stale


def outdated(folder: Path) -> list[Path]:
    """Paths of the folder's CRDs that are missing or differ from what the models say."""
    return [
        folder / name
        for name, kind in file_names().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != render(kind)
    ]
