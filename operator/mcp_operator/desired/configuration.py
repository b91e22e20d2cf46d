"""A proxy's configuration in the cluster: the ConfigMaps that hold it, and the volume in which its pods read it."""

import base64
from collections.abc import Mapping
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.compile.proxy import to_json
from mcp_operator.desired.common import Object, metadata
from mcp_operator_proxy.config import CONFIG_FILE, WANTED_FILE
from mcp_operator_proxy.configfiles import MAX_PARTS, Damaged, Incomplete, pack, unpack


def config_maps(proxy: McpProxy, compiled: Compiled, name: str) -> list[Object]:
    """The ConfigMaps, in the order of their writing: the one called `name`, on which the others hang, comes last.

    There is one, unless the configuration needs more even when compressed. Raises ConfigTooLarge.
    """
    revision = compiled.config.revision
    sources = pack(to_json(compiled.config), revision)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(proxy, part, {meta.ANNOTATION_REVISION: revision}),
            **_content(files),
        }
        for part, files in reversed([*zip(part_names(name), sources, strict=False)])
    ]


def part_names(name: str) -> list[str]:
    """Names of all ConfigMaps that a configuration may take."""
    return [name, *(f"{name}-{number}" for number in range(1, MAX_PARTS))]


def _content(files: Mapping[str, bytes]) -> Object:
    """Plain JSON stands there as text, for people to read."""
    if files.keys() == {CONFIG_FILE}:
        return {"data": {CONFIG_FILE: files[CONFIG_FILE].decode()}}
    return {"binaryData": {file: base64.b64encode(content).decode() for file, content in sorted(files.items())}}


def config_volume(name: str, secret: str) -> Object:
    """One projected volume, so that the kubelet swaps config and secrets in a single step.

    Its sources are the same for every configuration: one that outgrows a ConfigMap must not roll the pods. The pod's own
    annotation is among them: it says which revision the operator asks for.
    """
    first, *others = part_names(name)
    wanted = {"path": WANTED_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{meta.ANNOTATION_REVISION}']"}}
    return {
        "name": "config",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {"configMap": {"name": first}},
                *({"configMap": {"name": other, "optional": True}} for other in others),
                {"secret": {"name": secret}},
                {"downwardAPI": {"items": [wanted]}},
            ],
        },
    }


def config_text(live: Mapping[str, Mapping[str, Any]]) -> bytes | None:
    """The configuration that live ConfigMaps hold together, each by its name; None where they hold no whole one."""
    contents = {file: content for body in live.values() for file, content in _files(body)}

    def read(file: str, limit: int) -> bytes:
        if file not in contents:
            raise FileNotFoundError(file)
        return contents[file][: limit + 1]

    try:
        return unpack(read)
    except (FileNotFoundError, Incomplete, Damaged):
        return None


def _files(body: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    plain = [(file, text.encode()) for file, text in (body.get("data") or {}).items()]
    return plain + [(file, _decoded(text)) for file, text in (body.get("binaryData") or {}).items()]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
