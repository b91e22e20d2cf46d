"""One change as a unified diff, without what differs by itself and without any value of a Secret. Pure."""

import base64
import binascii
import difflib
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_operator.api.meta import ANNOTATION_APPLIED_HASH
from mcp_operator.planning.dryrun import Change
from mcp_operator.planning.merge import LAST_APPLIED

Object = Mapping[str, Any]
MASKED: Final = "***"
_SERVERS_OWN: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"}
)
_HIDDEN_ANNOTATIONS: Final = frozenset({ANNOTATION_APPLIED_HASH, LAST_APPLIED})
_MOST: Final = 16 * 2**20
"""Of a decompressed value: what is larger is shown as it stands there."""


def title(change: Change) -> str:
    """`apps.v1.Deployment.team-a.tools-proxy`, as `kubectl diff` names its files."""
    body = change.body
    metadata = body["metadata"]
    group = body["apiVersion"].replace("/", ".")
    return ".".join(part for part in (group, body["kind"], metadata.get("namespace", ""), metadata["name"]) if part)


def lines(change: Change, dump: Any) -> list[str]:
    """The diff, empty where nothing differs. `dump` makes text of an object."""
    before, after = shown(change.before), shown(change.after)
    if change.body["kind"] == "Secret":
        before, after = masked(before, after)
    texts = ["" if body is None else dump(body) for body in (before, after)]
    if texts[0] == texts[1]:
        return []
    name = title(change)
    old = "/dev/null" if before is None else f"live/{name}"
    new = "/dev/null" if after is None else f"planned/{name}"
    made = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), old, new, lineterm="")
    return [f"diff live/{name} planned/{name}", *made]


def shown(body: Object | None) -> dict[str, Any] | None:
    """An object without its status and what the API server keeps for itself; JSON inside a ConfigMap in lines."""
    if body is None:
        return None
    metadata = {key: value for key, value in body["metadata"].items() if key not in _SERVERS_OWN}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in _HIDDEN_ANNOTATIONS}
    if annotations:
        metadata["annotations"] = dict(sorted(annotations.items()))
    if owners := metadata.get("ownerReferences"):
        metadata["ownerReferences"] = [{k: v for k, v in owner.items() if k != "uid"} for owner in owners]
    rest = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata", "status"}}
    if body["kind"] == "ConfigMap":
        rest = {key: dict(_readable(value)) if key in _DATA else value for key, value in rest.items()}
    head = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": _sorted(metadata)}
    return {**head, **_sorted(rest)}


_DATA: Final = frozenset({"data", "binaryData"})


def _sorted(value: Any) -> Any:
    """Maps in the order of their keys: the API server keeps none."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def masked(before: Object | None, after: Object | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Both sides of a Secret without its values: `***` where they are equal or there is one, else marked by the side."""
    sides = [dict(body) if body is not None else None for body in (before, after)]
    for part in ("data", "stringData"):
        values = [(side or {}).get(part) or {} for side in sides]
        for side, mine, theirs, mark in zip(sides, values, reversed(values), ("before", "after"), strict=True):
            if side is not None and part in side:
                side[part] = {
                    key: MASKED if key not in theirs or theirs[key] == value else f"{MASKED} ({mark})"
                    for key, value in mine.items()
                }
    return sides[0], sides[1]


def _readable(data: Mapping[str, str] | None) -> Iterator[tuple[str, str]]:
    for key, value in (data or {}).items():
        yield key, _json_in_lines(_unzipped(key, value))


def _unzipped(key: str, value: str) -> str:
    """The text of a compressed value of `binaryData`."""
    if not key.endswith(".gz"):
        return value
    try:
        with gzip.open(io.BytesIO(base64.b64decode(value, validate=True))) as file:
            content = file.read(_MOST + 1)
        return content.decode() if len(content) <= _MOST else value
    except (binascii.Error, OSError, EOFError, zlib.error, UnicodeDecodeError):
        return value


def _json_in_lines(value: str) -> str:
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return json.dumps(parsed, indent=2, ensure_ascii=False) + "\n" if isinstance(parsed, dict | list) else value
