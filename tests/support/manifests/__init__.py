"""Manifests that users write: which must be accepted, and which must be refused with which words.

One table for both readers: the models (`mcp-operator local`, `render`) and the API server (schema and CEL).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mcp_operator.api.meta import API_VERSION

Body = dict[str, Any]

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples"
USUAL_NAMES = {"McpServer": "time", "McpProxy": "tools", "McpRoute": "research"}


@dataclass(frozen=True)
class Accepted:
    id: str
    body: Body


@dataclass(frozen=True)
class Refused:
    """`field` is the path of what is refused, as Kubernetes writes it; empty where a rule of the whole object refuses."""

    id: str
    body: Body
    field: str
    says: str
    server_says: str

    @property
    def field_in_python(self) -> str:
        return self.field.replace("[", ".").replace("]", "")


def _read(file: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((HERE / file).read_text(encoding="utf-8"))
    return entries


def _body(entry: Body) -> Body:
    kind = next(kind for kind in USUAL_NAMES if kind in entry)
    spec = entry[kind]
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": entry.get("name", USUAL_NAMES[kind])}}
    return body | ({} if spec is None else {"spec": spec})


def _too_long() -> Refused:
    entry = {"McpServer": {"remote": {"url": f"https://docs.example.com/{'a' * 2048}"}}}
    return Refused(
        "url that is too long", _body(entry), "spec.remote.url", "at most 2048 characters", "may not be more than 2048"
    )


ACCEPTED = [Accepted(entry["id"], _body(entry)) for entry in _read("accepted.yaml")]
REFUSED = [
    *(
        Refused(
            entry["id"], _body(entry), entry.get("field", ""), entry["says"], entry.get("serverSays", entry["says"])
        )
        for entry in _read("refused.yaml")
    ),
    _too_long(),
]


def example_folders() -> list[str]:
    """Folders whose files are for `kubectl apply`; those of gitops are for its controllers."""
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "gitops")


def example_files() -> list[Path]:
    return sorted(path for folder in example_folders() for path in (EXAMPLES / folder).rglob("*.yaml"))


def namespace_of(path: Path) -> str | None:
    """The namespace that a manifest file is for, where it says so."""
    return next((body["metadata"]["namespace"] for body in documents(path) if "namespace" in body["metadata"]), None)


def documents(path: Path) -> list[Body]:
    """Every object of a manifest file."""
    return [body for body in yaml.safe_load_all(path.read_text(encoding="utf-8")) if body]


def resources(path: Path) -> list[Body]:
    """Every object of a manifest file that is one of ours."""
    return [body for body in documents(path) if body["apiVersion"] == API_VERSION]
