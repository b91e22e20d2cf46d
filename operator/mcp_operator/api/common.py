"""What the three kinds share: scalar types, references, environment, resources, selectors, conditions."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from mcp_operator.api.meta import NAME_MAX_LENGTH
from mcp_operator_proxy.config import DNS_LABEL

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
GO_DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
QUANTITY: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

ObjectName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
NamespaceName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
DataKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)]
Duration = Annotated[str, StringConstraints(pattern=GO_DURATION, min_length=2, max_length=32)]
Quantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY, "maxLength": 64}),
]
Image = Annotated[str, StringConstraints(pattern=r"^[^\s]+$", min_length=1, max_length=1024)]
Argument = Annotated[str, StringConstraints(max_length=4096)]
Port = Annotated[int, Field(ge=1, le=65535)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]

_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Seconds of a Go duration (`1m30s`, `250ms`), as `time.ParseDuration` reads it."""
    if not re.fullmatch(GO_DURATION, duration):
        raise ValueError(f"{duration!r} is no duration; write it like 500ms, 30s or 1m30s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Schema extra for CEL rules (`x-kubernetes-validations`): pairs of rule and the message of its refusal."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


class ApiModel(BaseModel):
    """camelCase on the wire, immutable, attribute docstrings become the field descriptions of `kubectl explain`.

    An unknown field is an error here (manifest files); objects from the API server, which prunes by the schema,
    are read with `extra="ignore"` so that a newer CRD never breaks an older operator.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )


class KeyRef(ApiModel):
    """One key of a Secret or ConfigMap in the namespace of the resource that refers to it."""

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

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                "exactly one of configMapKeyRef and secretKeyRef must be set",
            )
        )
    )

    config_map_key_ref: KeyRef | None = None
    """The ConfigMap and its key."""
    secret_key_ref: KeyRef | None = None
    """The Secret and its key."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config_map_key_ref is None) == (self.secret_key_ref is None):
            raise ValueError("exactly one of configMapKeyRef and secretKeyRef must be set")
        return self


class EnvVar(ApiModel):
    """An environment variable of a hosted server."""

    model_config = ConfigDict(
        json_schema_extra=rules(("!(has(self.value) && has(self.valueFrom))", "value and valueFrom exclude each other"))
    )

    name: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", min_length=1, max_length=253)]
    """Name of the variable."""
    value: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """Literal value. Credentials belong into a Secret: use valueFrom."""
    value_from: DataSource | None = None
    """Where the value stands instead."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("value and valueFrom exclude each other")
        return self


class Resources(ApiModel):
    """Compute resources, as a container's `resources`."""

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What is reserved, by resource name (cpu, memory, …)."""
    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What may be used at most, by resource name."""


class SelectorRequirement(ApiModel):
    """One requirement of a label selector."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0",
                "In and NotIn need values, Exists and DoesNotExist take none",
            )
        )
    )

    key: LabelKey
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to the values."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """Values for In and NotIn."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if (self.operator in {"In", "NotIn"}) != bool(self.values):
            raise ValueError("In and NotIn need values, Exists and DoesNotExist take none")
        return self

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

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(default_factory=dict)
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
    """Accepted, ResolvedRefs, Programmed, Healthy, Ready, Reconciling or Stalled."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
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

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this status speaks of."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = ()
    """What is true of the resource."""


NAME_TOO_LONG: Final = (
    f"metadata.name may have at most {NAME_MAX_LENGTH} characters, so that the names of its children fit"
)
NAME_NO_LABEL: Final = (
    "metadata.name must be a DNS label that starts with a letter: lower-case letters, digits and '-', no '.'"
)
NAME_RULES: Final = (
    (f"self.metadata.name.size() <= {NAME_MAX_LENGTH}", NAME_TOO_LONG),
    ("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", NAME_NO_LABEL),
)
"""CEL rules of kinds that have a Service of their own (DNS-1035 label, RFC 1035)."""


def name_problem(name: str) -> str | None:
    """What the rules above say of a name, or None."""
    if len(name) > NAME_MAX_LENGTH:
        return NAME_TOO_LONG
    return None if re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) else NAME_NO_LABEL
