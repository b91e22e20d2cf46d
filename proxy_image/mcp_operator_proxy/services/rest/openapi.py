"""The OpenAPI description, as version 3.0.3: the page of documentation reads that, and so do all generators of clients. Pure."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mcp_operator_proxy.services.rest.problems import Problem

VERSION: Final = "3.0.3"
_MODELS: Final = "#/components/schemas/{model}"


def describe(app: FastAPI, root: str) -> dict[str, Any]:
    """Of the application where it is served: behind the path `root`, without a slash at its end."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": root or "/"}],
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=_MODELS)
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):  # what FastAPI says by itself, in the place of problems
        schemas.pop(name, None)
    made["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of a known issuer."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    made["security"] = [{"bearer": []}, {"apiKey": []}, {}]
    described: dict[str, Any] = as_3_0({**made, "openapi": VERSION})
    described["components"]["schemas"] = dict(sorted(described["components"]["schemas"].items()))
    return described


def as_3_0(value: Any) -> Any:
    """The same, in the words of JSON Schema that OpenAPI 3.0 has: `nullable`, boolean `exclusiveMinimum`, no `const`."""
    if isinstance(value, list):
        return [as_3_0(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: as_3_0(item) for key, item in value.items()}
    if isinstance(alternatives := made.get("anyOf"), list) and {"type": "null"} in alternatives:
        others = [item for item in alternatives if item != {"type": "null"}]
        del made["anyOf"]
        made = {**made, "nullable": True, **(_one(others[0]) if len(others) == 1 else {"anyOf": others})}
    for limit, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(made.get(limit), (int, float)) and not isinstance(made[limit], bool):
            made[bound], made[limit] = made[limit], True
    if "const" in made and "properties" not in made:
        made["enum"] = [made.pop("const")]
    return made


def _one(schema: dict[str, Any]) -> dict[str, Any]:
    """In 3.0 nothing stands beside a `$ref`."""
    return {"allOf": [schema]} if "$ref" in schema else schema
