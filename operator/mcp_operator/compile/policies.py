"""Whether policies can be read, told before a proxy has to refuse them. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec


def unreadable(policies: Mapping[str, str]) -> Mapping[str, str]:
    """What is wrong with policies that hold together, each by where it stands; empty where nothing is.

    A text that is good only together with the others is good. Without the library (`mcp-operator[operator]` has it) nobody knows.
    """
    if find_spec("cedarpy") is None or (together := _problem("\n".join(policies.values()))) is None:
        return {}
    found = {where: problem for where, text in policies.items() if (problem := _problem(text)) is not None}
    return found or {next(iter(policies)): f"with those that follow it: {together}"}


@lru_cache(maxsize=256)
def _problem(text: str) -> str | None:
    from mcp_operator_proxy.authz.syntax import BadPolicies, parse  # noqa: PLC0415 - only who has policies pays for it

    try:
        parse(text)
    except BadPolicies as error:
        return str(error)
    return None
