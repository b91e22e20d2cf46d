"""TypeScript types of what `/ui/api` answers, made of the models in `mcp_operator_proxy.inspector`.

python hack/inspector_types.py            # writes proxy_image/ui/src/api/types.ts
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from mcp_operator_proxy.inspector.models import ANSWERS

FILE: Final = Path(__file__).resolve().parents[1] / "proxy_image/ui/src/api/types.ts"
HEAD: Final = """// Made by hack/inspector_types.py of proxy_image/mcp_operator_proxy/inspector/models.py. Do not edit.

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };
"""
_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def render() -> str:
    """The whole file."""
    _, schema = models_json_schema([(model, "serialization") for model in ANSWERS], by_alias=True)
    found = {name: definition for name, definition in schema["$defs"].items() if name != "JsonValue"}
    return "\n".join([HEAD, *(_interface(name, found[name]) for name in sorted(found))])


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    lines = [*_comment(schema.get("description"), ""), f"export interface {name} {{"]
    for member, of in schema.get("properties", {}).items():
        lines += [*_comment(of.get("description"), "  "), f"  {member}: {type_of(of)};"]
    if schema.get("additionalProperties") is True:
        lines.append("  [more: string]: unknown;")
    return "\n".join([*lines, "}", ""])


def _comment(text: str | None, indent: str) -> list[str]:
    return [f"{indent}/** {' '.join(text.split()).replace('*/', '* /')} */"] if text else []


def type_of(schema: Mapping[str, Any]) -> str:
    """The TypeScript type of a JSON schema of pydantic's."""
    if "$ref" in schema:
        return "JsonValue" if schema["$ref"].endswith("/JsonValue") else str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array":
        inner = type_of(schema.get("items", {}))
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"{{ [key: string]: {type_of(values) if isinstance(values, Mapping) else 'JsonValue'} }}"
    return _PLAIN.get(str(kind), "JsonValue")


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(render())
