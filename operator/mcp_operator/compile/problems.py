"""What can be wrong with a resource beyond its schema, as values that become conditions."""

from dataclasses import dataclass
from typing import Literal

ProblemReason = Literal[
    "RefNotFound",
    "RefNotPermitted",
    "InvalidValue",
    "UnsupportedValue",
    "ServerNotFound",
    "ServerInvalid",
    "ParentNotFound",
    "PrefixConflict",
    "ServerConflict",
    "NoServerSelected",
]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that its author can mend. `message` says what and how, and holds no secret."""

    reason: ProblemReason
    message: str
