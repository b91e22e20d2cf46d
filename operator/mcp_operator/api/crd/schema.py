"""Pydantic's JSON schema turned into a structural schema (KEP-1979): what a CustomResourceDefinition may hold."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

KEY_ORDER: Final = (
    "description",
    "type",
    "format",
    "x-kubernetes-int-or-string",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "items",
    "maxProperties",
    "additionalProperties",
    "properties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
_DROPPED: Final = frozenset({"title", "propertyNames", "$defs"})
"""Keys that say nothing here. Of `propertyNames`, a CEL rule on the map says what matters."""


class Unstructural(ValueError):
    """A model says something that a structural schema can't, or leaves something unbounded that CEL needs bounded."""


def structural(model: type[BaseModel], *, without: Collection[str] = ()) -> Schema:
    """Structural schema of a model.

    References stand inline, the field's text wins over that of its type, optional fields are plain but not required,
    an object whose leaves have defaults gets the default `{}`, so that the API server fills in the leaves. The fields
    `without` are left out.

    Raises Unstructural.
    """
    schema = model.model_json_schema(mode="validation", by_alias=True)
    schema["properties"] = {name: field for name, field in schema["properties"].items() if name not in without}
    schema["required"] = [name for name in schema.get("required", []) if name not in without]
    return _convert(schema, schema.get("$defs", {}), model.__name__)


def _convert(schema: Mapping[str, Any], definitions: Mapping[str, Any], where: str) -> Schema:
    flat = _flatten(schema, definitions)
    result = {key: value for key, value in flat.items() if key not in _DROPPED}
    if "const" in result:
        result["enum"] = [result.pop("const")]
    match result.get("type"):
        case "object":
            _convert_object(result, definitions, where)
        case "array":
            _convert_list(result, definitions, where)
        case "string" if not ({"maxLength", "enum", "format"} & result.keys()):
            raise Unstructural(f"{where}: a string needs a maximal length")
        case None if "x-kubernetes-int-or-string" not in result:
            raise Unstructural(f"{where}: has no type")
    if not result.get("required", True):
        del result["required"]
    if unknown := sorted(result.keys() - set(KEY_ORDER)):
        raise Unstructural(f"{where}: {', '.join(unknown)} can't be said in a structural schema")
    return {key: result[key] for key in KEY_ORDER if key in result}


def _convert_object(result: Schema, definitions: Mapping[str, Any], where: str) -> None:
    default = result.pop("default", None)
    if result.get("x-kubernetes-preserve-unknown-fields") and "properties" not in result:
        return  # free-form: its fields are not known here, so CEL can say nothing of them either
    values = result.pop("additionalProperties", None)
    if "properties" in result:
        result["properties"] = {
            name: _convert(child, definitions, f"{where}.{name}") for name, child in result["properties"].items()
        }
        if default is not None and any("default" in child for child in result["properties"].values()):
            result["default"] = _own_words(default, result["properties"])
        return
    if not isinstance(values, Mapping) or "maxProperties" not in result:
        raise Unstructural(f"{where}: a map needs the type of its values and a maximal size")
    result["additionalProperties"] = _convert(values, definitions, f"{where}.*")
    if default:
        result["default"] = default


def _convert_list(result: Schema, definitions: Mapping[str, Any], where: str) -> None:
    if "maxItems" not in result:
        raise Unstructural(f"{where}: a list needs a maximal length")
    result["items"] = _convert(result["items"], definitions, f"{where}[]")
    result.setdefault("x-kubernetes-list-type", "atomic")
    if not result.get("default", True):
        del result["default"]


def _flatten(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Put references inline and take `null` out of `anyOf`; what stands at the field wins."""
    flat = dict(schema)
    while "$ref" in flat or "anyOf" in flat:
        reference = flat.pop("$ref", None)
        if reference is not None:
            target = definitions[reference.removeprefix("#/$defs/")]
        else:
            choices = [choice for choice in flat.pop("anyOf") if choice.get("type") != "null"]
            if len(choices) != 1:
                raise Unstructural("a union is modelled as optional siblings and a rule, not as anyOf")
            target = choices[0]
        flat = {**target, **flat}
    if flat.get("default", ...) is None:
        del flat["default"]
    return flat


def _own_words(default: Mapping[str, Any], properties: Mapping[str, Schema]) -> Schema:
    """The part of an object's default that the defaults of its fields do not say already."""
    own: Schema = {}
    for name, value in default.items():
        child = properties[name]
        if isinstance(value, Mapping) and "properties" in child:
            if words := _own_words(value, child["properties"]):
                own[name] = words
        elif value and value != child.get("default"):
            own[name] = value
    return own
