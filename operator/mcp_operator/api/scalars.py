"""Scalar types of the resources: names, images, durations, quantities, each with the words of its refusal."""

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import SchemaError

from mcp_operator.api.constraints import Pattern, Rule, literal, matching
from mcp_operator.api.meta import NAME_MAX_LENGTH

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
GO_DURATION: Final = r"^([0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$"
QUANTITY: Final = r"^\+?([0-9]{1,15}(\.[0-9]{0,9})?|\.[0-9]{1,9})([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"
RESOURCE_NAME: Final = (
    r"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i"
    r"|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$"
)
QUALIFIED_NAME: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
IMAGE: Final = (
    r"^(([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@[A-Za-z0-9+._-]+:[0-9A-Fa-f]{32,128})?$"
)
"""Source: the grammar of an image reference in the OCI distribution project."""
_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
URL: Final = rf"^https?://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:{_PORT})?([/?][!-\"$-~]*)?$"
URL_MESSAGE: Final = "must be like https://host:port/path: http or https, with a host, without credentials and fragment"

NAME: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"

ResourceName = Annotated[
    str,
    StringConstraints(max_length=NAME_MAX_LENGTH),
    matching(NAME, "must be the name of a resource: lower-case letters, digits and '-', starting with a letter"),
]
"""Name of an McpServer or McpProxy, as a reference to it."""
ObjectName = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(DNS_SUBDOMAIN, "must be the name of an object: lower-case letters, digits, '-' and '.'"),
]
NamespaceName = Annotated[
    str,
    StringConstraints(max_length=63),
    matching(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be the name of a namespace: lower-case letters, digits and '-'"),
]
DataKey = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(r"^[-._a-zA-Z0-9]+$", "must be a key of the object's data: letters, digits, '-', '_' and '.'"),
]
LABEL_KEY_MESSAGE: Final = "must be a label key: a name of at most 63 letters, digits, '-', '_' and '.', or domain/name"
LabelKey = Annotated[str, StringConstraints(max_length=317), Pattern(QUALIFIED_NAME, LABEL_KEY_MESSAGE)]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63),
    Pattern(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "must be a label value: letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
    ),
]
Image = Annotated[
    str,
    StringConstraints(max_length=1024),
    matching(IMAGE, "must be an image reference such as registry.example.com/team/name:1.2, without a scheme"),
]


def is_url(text: str) -> bool:
    """Whether it is one that holds no credential and that the HTTP libraries can read."""
    try:
        AnyHttpUrl(text)
    except ValidationError:
        return False
    return re.fullmatch(URL, text) is not None


def _readable(text: str) -> str:
    """The API server reads no hosts: it takes `256.1.1.1`, and `xn--` before what is none."""
    if not is_url(text):
        raise ValueError("its host is no name and no address")
    return text


Url = Annotated[str, StringConstraints(max_length=2048), matching(URL, URL_MESSAGE), AfterValidator(_readable)]
"""An address that holds no credential: who may read the resource may read it."""
CallerName = Annotated[
    str,
    StringConstraints(max_length=128),
    Pattern(r"^[A-Za-z0-9._@-]+$", "must be letters, digits, '.', '_', '@' and '-'"),
]
"""Of a caller, an issuer, a provider: what stands in logs and metrics."""
Scope = Annotated[
    str,
    StringConstraints(max_length=256),
    Pattern(r"^[!#-\[\]-~]+$", "must be an OAuth scope: printable ASCII without spaces, quotes and backslashes"),
]
"""RFC 6749, section 3.3."""
Argument = Annotated[str, StringConstraints(max_length=4096)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Priority = Annotated[int, Field(strict=True, ge=-1_000_000, le=1_000_000)]
Count = Annotated[int, Field(strict=True, ge=0)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
FreeForm = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON object, kept as it is."""


def finder(pattern: str) -> TypeAdapter[str]:
    """Its `validate_python(text)` raises ValidationError unless the expression is found in the text.

    pydantic's own engine reads it: the syntax of RE2 and linear time, as the expressions of strangers need it.

    Raises ValueError.
    """
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        raise ValueError("it is no regular expression") from error


def _is_expression(pattern: str) -> bool:
    try:
        finder(pattern)
    except ValueError:
        return False
    return True


RegularExpression = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024),
    # Which of the two it is does not matter: an expression that cannot be read is an error of the rule.
    Rule("''.matches(self) || !''.matches(self)", "must be a regular expression in the syntax of RE2", _is_expression),
]

_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Seconds of a Go duration (`1m30s`, `250ms`), as `time.ParseDuration` reads it."""
    if not re.fullmatch(GO_DURATION, duration):
        raise ValueError(f"{duration!r} is no duration; write it like 500ms, 30s or 1m30s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def between(low: str, high: str) -> Rule:
    """The duration is one, and lies between two others, both included."""

    def holds(value: str) -> bool:
        return re.fullmatch(GO_DURATION, value) is not None and seconds(low) <= seconds(value) <= seconds(high)

    return Rule(
        f"self.matches({literal(GO_DURATION)}) && duration(self) >= duration('{low}') && duration(self) <= duration('{high}')",
        f"must be a duration from {low} to {high}, written like 500ms, 30s or 1m30s",
        holds,
    )


Duration = Annotated[str, StringConstraints(max_length=32)]
"""A Go duration; every field says with `between` what makes sense there."""

QUANTITY_MESSAGE: Final = "must be a quantity that is not negative, such as 500m, 2 or 64Mi"


def _quantity(value: object) -> object:
    if isinstance(value, bool) or not re.fullmatch(QUANTITY, str(value)) or not isinstance(value, int | str):
        raise ValueError(QUANTITY_MESSAGE)
    return value


Quantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
    BeforeValidator(_quantity),
    Rule(
        f"type(self) == int ? self >= 0 : string(self).matches({literal(QUANTITY)})", QUANTITY_MESSAGE, lambda _: True
    ),
]


_BINARY: Final = {f"{prefix}i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", 1)}
_DECIMAL: Final = {
    **dict(zip("num", (Decimal(10) ** power for power in (-9, -6, -3)), strict=True)),
    **{prefix: Decimal(1000) ** power for power, prefix in enumerate("kMGTPE", 1)},
}
_SUFFIXES: Final = _BINARY | _DECIMAL


def amount(quantity: int | str) -> Decimal:
    """Value of a Kubernetes quantity (`250m`, `64Mi`, `1e3`). Raises ValueError."""
    text = str(quantity)
    if not re.fullmatch(QUANTITY, text):
        raise ValueError(QUANTITY_MESSAGE)
    number = text.rstrip("numkMGTPEi")
    return Decimal(number) * _SUFFIXES.get(text[len(number) :], Decimal(1))
