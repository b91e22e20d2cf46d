"""`python hack/api_docs.py [--check]`: write docs/api.md and docs/api/ from the CustomResourceDefinitions, or say what is out of date."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.crd import definition

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
EXAMPLES: Final = {
    meta.SERVER.kind: "examples/remote/docs.yaml",
    meta.PROXY.kind: "examples/quickstart/proxy.yaml",
    meta.ROUTE.kind: "examples/routes/research.yaml",
}
GENERATED: Final = "<!-- Generated from operator/mcp_operator/api by `make docs-api`; do not edit. -->\n"
HEAD: Final = """\
# The three kinds

Group `mcp-operator.dev`, version `v1alpha1`, all namespaced, all in the category `mcp`: `kubectl get mcp` lists them together.

| kind | short | every field | is |
| --- | --- | --- | --- |
"""
TAIL: Final = """
`kubectl explain mcpserver.spec` says the same as these pages. A wrong manifest is refused by the API server in the words that
stand in italics there; `mcp-operator local` and `mcp-operator render` refuse it in the same words. What conditions mean:
[conditions.md](conditions.md).

How to read the tables:

- Durations are Go's (`500ms`, `30s`, `1m30s`), quantities Kubernetes' (`50m`, `64Mi`).
- `[]` stands for each item of a list, `*` for each key of a map.
- A field in **bold** is required where its parent is given.
- References to Secrets and ConfigMaps are to objects of the resource's own namespace.
"""

Schema = Mapping[str, Any]


def pages() -> dict[Path, str]:
    """Each generated page and its whole text."""
    return {DOCS / "api.md": _overview()} | {DOCS / "api" / _page(kind): GENERATED + _kind(kind) for kind in meta.KINDS}


def _overview() -> str:
    rows = [
        f"| {kind.kind} | `{kind.short_name}` | [{_page(kind)}](api/{_page(kind)}) | {_cell(_root(kind)['description'])} |\n"
        for kind in meta.KINDS
    ]
    return GENERATED + HEAD + "".join(rows) + TAIL


def _page(kind: meta.Kind) -> str:
    return f"{kind.kind.lower()}.md"


def _root(kind: meta.Kind) -> Schema:
    root: Schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def _kind(kind: meta.Kind) -> str:
    body = definition(kind)
    version = body["spec"]["versions"][0]
    root = _root(kind)
    columns = version["additionalPrinterColumns"]
    shown = ", ".join(c["name"].upper() for c in columns if not c.get("priority"))
    wide = ", ".join(c["name"].upper() for c in columns if c.get("priority"))
    example = EXAMPLES[kind.kind]
    manifest = (ROOT / example).read_text(encoding="utf-8").strip()
    lines = [
        f"# {kind.kind}",
        f"{root['description']}\n",
        f"`kubectl get {kind.short_name}` shows {shown}; with `-o wide` also {wide}.",
        _rules(root).strip(),
        f"\n[`{example}`](../../{example}):\n",
        f"```yaml\n{manifest}\n```\n",
    ]
    for part in ("spec", "status"):
        schema = root["properties"][part]
        lines += [f"## {kind.kind}.{part}", f"{schema['description']}{_rules(schema)}\n"]
        lines += _table(schema, defaults=part == "spec")
    return "\n".join(lines)


def _table(schema: Schema, *, defaults: bool) -> Iterator[str]:
    """A table of all fields; a status has no defaults."""
    yield "| field | type | default | meaning |" if defaults else "| field | type | meaning |"
    yield "| --- | --- | --- | --- |" if defaults else "| --- | --- | --- |"
    for path, field, required in _fields(schema, ""):
        name = f"**`{path}`**" if required and defaults else f"`{path}`"
        default = f" {_default(field)} |" if defaults else ""
        yield f"| {name} | {_type(field)} |{default} {_cell(field.get('description', '') + _rules(field))} |"
    yield ""


def _fields(schema: Schema, parent: str) -> Iterator[tuple[str, Schema, bool]]:
    """Path, schema and whether it is required, of every field below `schema`."""
    for name, field in schema.get("properties", {}).items():
        path = f"{parent}{name}"
        yield path, field, name in schema.get("required", ())
        inner, suffix = field, "."
        while (deeper := _inner(inner)) is not None:
            inner, mark = deeper
            suffix = f"{mark}{suffix}"
        yield from _fields(inner, f"{path}{suffix}")


def _inner(schema: Schema) -> tuple[Schema, str] | None:
    """The schema of a list's items or a map's values."""
    if schema.get("type") == "array":
        return schema["items"], "[]"
    values = schema.get("additionalProperties")
    return (values, ".*") if isinstance(values, Mapping) else None


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {_type(schema['items'])}{_at_most(schema, 'maxItems')}"
        case "object" if isinstance(schema.get("additionalProperties"), Mapping):
            return f"map to {_type(schema['additionalProperties'])}{_at_most(schema, 'maxProperties')}"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case "integer" if {"minimum", "maximum"} <= schema.keys():
            return f"integer, {schema['minimum']} to {schema['maximum']}"
        case other:
            return str(other)


def _at_most(schema: Schema, key: str) -> str:
    return f", at most {schema[key]}" if key in schema else ""


def _default(schema: Schema) -> str:
    """The default; that of an object is said by its fields."""
    default = schema.get("default")
    if default is None or (isinstance(default, Mapping) and not default):
        return ""
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _rules(schema: Schema) -> str:
    """What is refused: the field's own rules, and those of its items."""
    inner = _inner(schema)
    rules = [*schema.get("x-kubernetes-validations", ())]
    rules += inner[0].get("x-kubernetes-validations", ()) if inner else ()
    return "".join(f" *{_escaped(rule['message'])}*." for rule in rules)


def _escaped(text: str) -> str:
    return text.replace("*", "\\*")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def outdated() -> list[str]:
    """Names of generated pages that are missing or not what they would be now."""
    return [
        str(path.relative_to(ROOT))
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """0: written, or up to date; 1: `--check` found a page out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page is out of date")
    if parser.parse_args().check:
        stale = outdated()
        if stale:
            print(f"out of date: {', '.join(stale)}; run python hack/api_docs.py", file=sys.stderr)
        return int(bool(stale))
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
