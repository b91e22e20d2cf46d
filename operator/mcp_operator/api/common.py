"""What the three kinds share: the base model, references, environment, resources, selectors, conditions."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mcp_operator.api.constraints import Rule, keys_matching, literal, matching, one_of_fields, with_rules
from mcp_operator.api.meta import NAME_MAX_LENGTH
from mcp_operator.api.scalars import (
    LABEL_KEY_MESSAGE,
    NAME,
    QUALIFIED_NAME,
    RESOURCE_NAME,
    Count,
    DataKey,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    amount,
)
from mcp_operator.api.scalars import seconds as seconds  # noqa: PLC0414


class ApiModel(BaseModel):
    """camelCase on the wire, immutable, attribute docstrings become the field descriptions of `kubectl explain`.

    An unknown field is an error here (manifest files); objects from the API server, which prunes by the schema,
    are read with `extra="ignore"` so that a newer CRD never breaks an older operator. A null is an absent field, as
    the API server drops it too. `invariants` are checked by both sides.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )
    invariants: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if isinstance(data, dict) and None in data.values():
            return {key: value for key, value in data.items() if value is not None}
        return data

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # No validator of this class: it would be called for the many models that have no invariants, too.
        schema = handler(source)
        for rule in cls.invariants:
            schema = core_schema.no_info_after_validator_function(rule.check, schema)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        target = handler.resolve_ref_schema(described)
        target.update(with_rules(target, cls.invariants))
        return described


ATOMIC_MAP: Final[dict[str, Any]] = {"x-kubernetes-map-type": "atomic"}


def keyed_by(field: str) -> dict[str, Any]:
    """Schema extra of a list whose items are told apart by a field: merged by it, and refused when it repeats."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


def unique(field: str) -> AfterValidator:
    """What the API server checks of a list with `keyed_by`."""

    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen = Counter(getattr(item, field) for item in items)
        if twice := [key for key, count in seen.items() if count > 1]:
            raise ValueError(f"{field} {twice[0]!r} stands there twice")
        return items

    return AfterValidator(check)


class KeyRef(ApiModel):
    """One key of a Secret or ConfigMap in the namespace of the resource that refers to it."""

    model_config = ConfigDict(json_schema_extra=ATOMIC_MAP)

    name: ObjectName
    """Name of the object."""
    key: DataKey
    """Key in the object's data."""


class SecretSource(ApiModel):
    """A value that stands in a Secret."""

    secret_key_ref: KeyRef
    """The Secret and its key."""


class DataSource(ApiModel):
    """A value that stands in a ConfigMap or a Secret: exactly one of the two."""

    invariants = (
        Rule(
            one_of_fields("configMapKeyRef", "secretKeyRef"),
            "exactly one of configMapKeyRef and secretKeyRef must be set",
            lambda self: (self.config_map_key_ref is None) != (self.secret_key_ref is None),
        ),
    )

    config_map_key_ref: KeyRef | None = None
    """The ConfigMap and its key."""
    secret_key_ref: KeyRef | None = None
    """The Secret and its key."""


class EnvVar(ApiModel):
    """An environment variable of a hosted server."""

    invariants = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "value and valueFrom exclude each other",
            lambda self: self.value is None or self.value_from is None,
        ),
    )

    name: Annotated[
        str,
        StringConstraints(max_length=253),
        matching(
            r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", "must be letters, digits, '-', '_' and '.', not starting with a digit"
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """Literal value. Credentials belong into a Secret: use valueFrom."""
    value_from: DataSource | None = None
    """Where the value stands instead."""


ResourceMap = Annotated[
    dict[Annotated[str, StringConstraints(max_length=253)], Quantity],
    Field(max_length=16),
    keys_matching(RESOURCE_NAME, "names must be cpu, memory, ephemeral-storage, hugepages-SIZE or DOMAIN/NAME"),
]


class Resources(ApiModel):
    """Compute resources, as a container's `resources`."""

    invariants = (
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) ||"
            " quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "a request must not be larger than its limit",
            lambda self: all(
                amount(wanted) <= amount(self.limits[name])
                for name, wanted in self.requests.items()
                if name in self.limits
            ),
        ),
    )

    requests: ResourceMap = Field(default_factory=dict)
    """What is reserved, by resource name (cpu, memory, …)."""
    limits: ResourceMap = Field(default_factory=dict)
    """What may be used at most, by resource name."""


class SelectorRequirement(ApiModel):
    """One requirement of a label selector."""

    invariants = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "In and NotIn need values, Exists and DoesNotExist take none",
            lambda self: (self.operator in {"In", "NotIn"}) == bool(self.values),
        ),
    )

    key: LabelKey
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to the values."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """Values for In and NotIn."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        present, value = self.key in labels, labels.get(self.key)
        match self.operator:
            case "In":
                return present and value in self.values
            case "NotIn":
                return not present or value not in self.values
            case "Exists":
                return present
            case "DoesNotExist":
                return not present


class LabelSelector(ApiModel):
    """A label selector (meta/v1): all of its parts must match; an empty one matches everything."""

    model_config = ConfigDict(json_schema_extra=ATOMIC_MAP)

    match_labels: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], LabelValue],
        Field(max_length=64),
        keys_matching(QUALIFIED_NAME, f"each key {LABEL_KEY_MESSAGE}"),
    ] = Field(default_factory=dict)
    """Labels and the values that they must have."""
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=64)] = ()
    """Further requirements."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


class Condition(ApiModel):
    """A condition (meta/v1 `Condition`)."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Accepted, ResolvedRefs, Programmed, Healthy, Ready, and others where the spec gives cause for them."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Count | None = None
    """The generation of the spec that this speaks of."""
    last_transition_time: datetime
    """When the status last changed."""
    reason: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", min_length=1, max_length=1024)
    ]
    """Why, in one word of a fixed list."""
    message: Annotated[str, StringConstraints(max_length=32768)]
    """Why, in words, and what to do."""


class StatusModel(ApiModel):
    """What every status has."""

    observed_generation: Count | None = None
    """The generation of the spec that this status speaks of."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type")), unique("type")
    ] = ()
    """What is true of the resource."""


NAME_TOO_LONG: Final = (
    f"metadata.name may have at most {NAME_MAX_LENGTH} characters, so that the names of its children fit"
)
NAME_NO_LABEL: Final = (
    "metadata.name must be a DNS label that starts with a letter: lower-case letters, digits and '-', no '.'"
)
NAME_RULES: Final = (
    Rule(
        f"self.metadata.name.size() <= {NAME_MAX_LENGTH}",
        NAME_TOO_LONG,
        lambda self: len(self.metadata.name) <= NAME_MAX_LENGTH,
    ),
    Rule(
        f"self.metadata.name.matches({literal(NAME)})",
        NAME_NO_LABEL,
        lambda self: re.fullmatch(NAME, self.metadata.name) is not None,
    ),
)
"""Invariants of kinds that have a Service of their own (DNS-1035 label, RFC 1035)."""
