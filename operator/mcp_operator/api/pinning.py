"""Definitions of tools that somebody has approved: in the spec, in the record, and what differs from them."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from mcp_operator.api.common import ApiModel
from mcp_operator.api.constraints import matching
from mcp_operator.api.scalars import Count

MOST_PINNED: Final = 2000
"""Tools of one server whose definitions are recorded."""
MOST_UNAPPROVED: Final = 100
"""Tools that a status names."""
Pinning = Literal["Off", "Warn", "Enforce"]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Digest = Annotated[
    str,
    StringConstraints(max_length=71),
    matching(r"^sha256:[0-9a-f]{64}$", "must be sha256: and 64 hexadecimal digits, as the status shows them"),
]


class ApprovedTool(ApiModel):
    """One definition that is approved. A tool may have several: while its server is replaced, two of them are right."""

    tool: ToolName
    """The server's own name of the tool."""
    digest: Digest
    """Digest of its definition, as status.definitions shows it."""


def _each_once(items: tuple[ApprovedTool, ...]) -> tuple[ApprovedTool, ...]:
    seen = Counter((item.tool, item.digest) for item in items)
    if twice := [tool for (tool, _), count in seen.items() if count > 1]:
        raise ValueError(f"tool {twice[0]!r} stands there twice with one digest")
    return items


_BY_BOTH: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["tool", "digest"]}


class ApprovedDefinitions(ApiModel):
    """What is approved, for those who keep it in Git. Without it the definitions are trusted that are seen first."""

    all: Digest | None = None
    """Digest of all definitions together, as status.tools.digest shows it: when the server lists just those, they are approved."""
    tools: Annotated[
        tuple[ApprovedTool, ...], Field(max_length=MOST_PINNED, json_schema_extra=_BY_BOTH), AfterValidator(_each_once)
    ] = ()
    """Definitions of single tools. They may be approved before the server has them."""


class PinnedTool(ApiModel):
    """A definition that was recorded."""

    tool: Annotated[str, StringConstraints(max_length=1024)]
    """The server's own name of the tool."""
    digest: Annotated[str, StringConstraints(max_length=71)]
    """Digest of its definition."""


class UnapprovedTool(ApiModel):
    """A tool whose definition is not approved. With pinning: Enforce it is neither listed nor callable."""

    tool: Annotated[str, StringConstraints(max_length=1024)]
    """The server's own name of the tool."""
    kind: Literal["Changed", "New", "Gone"]
    """Changed: it is not as approved. New: no definition of that name is approved. Gone: the server no longer lists it."""
    digest: Annotated[str, StringConstraints(max_length=71)] = ""
    """Digest of the definition as it is now: what is to be approved. Empty where there is none."""
    approved: Annotated[tuple[Annotated[str, StringConstraints(max_length=71)], ...], Field(max_length=8)] = ()
    """Digests that are approved."""
    diff: Annotated[str, StringConstraints(max_length=4096)] = ""
    """What differs from the approved definition: lines of `path: old -> new`. What can't be seen stands there as \\u{202e}."""
    only_at: Annotated[tuple[Annotated[str, StringConstraints(max_length=317)], ...], Field(max_length=8)] = ()
    """McpProxies that are shown this definition while the operator is not."""


class Definitions(ApiModel):
    """The record of a server's definitions, and what the server has beside it."""

    recorded_at: datetime
    """When they were first recorded."""
    pinned: Annotated[tuple[PinnedTool, ...], Field(max_length=MOST_PINNED)] = ()
    """The record: the definition of each tool that was seen first, or approved since, by its digest."""
    unapproved: Annotated[tuple[UnapprovedTool, ...], Field(max_length=MOST_UNAPPROVED)] = ()
    """Tools whose definitions are not approved, at most 100."""
    unapproved_count: Count = 0
    """How many there are."""
