"""A server as one user has it. Pure."""

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.config import EnvVar, SecretRef, Server, Stdio
from mcp_operator_proxy.services.credentials.shown import shown

SIGN_IN: Final = "sign_in"
SIGN_IN_META: Final = "mcp-operator.dev/sign-in"
"""Key in `_meta` of the definition of a tool that stands for those that are not known yet."""
EMPTY: Final = Catalogue()
UNKNOWN: Final = Catalogue(completions=True, subscribe=True)
"""What a user's instance can is said once, before it is known: rather too much, as the instance says itself what it cannot."""


def for_user(resolved: ResolvedServer, user: str, token: str | None) -> ResolvedServer:
    """With the user's `token`, and a process that is the user's alone."""
    if token is not None:
        resolved = shown(resolved, token)
    server = resolved.server
    if server.stdio is not None:
        server = server.model_copy(update={"stdio": _alone(server.stdio, server.credential_env)})
    return replace(resolved, server=server, owner=user)


def _alone(stdio: Stdio, variable: str | None) -> Stdio:
    """All of the user's sessions share the process, which ends when it idles; the variable of the token is a secret one."""
    more = () if variable is None else (EnvVar(name=variable, secret=SecretRef(file="credential")),)
    env = (*(own for own in stdio.env if own.name != variable), *more)
    return stdio.model_copy(update={"isolation": "shared", "start": "lazy", "env": env})


@lru_cache(maxsize=1024)
def unsigned(server: str, pinned: tuple[str, ...]) -> Catalogue:
    """What is listed of a server for a user whose own list was never seen, as there is no credential.

    No other user's list: the tools that the configuration names itself, or one whose call tells how to sign in.
    """
    if not pinned:
        return Catalogue(
            tools=(_tool(SIGN_IN, f"Sign in to {server}. Its tools are listed once you have.", sign_in=True),),
            placeholder=True,
        )
    tools = tuple(_tool(name, f"Sign in to {server} to use this tool.") for name in pinned)
    return Catalogue(tools=tools, placeholder=True)


def unsigned_of(server: Server) -> Catalogue:
    return unsigned(server.id, tuple(dict.fromkeys(pin.tool for pin in server.pins)))


def _tool(name: str, description: str, *, sign_in: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "description": description, "inputSchema": {"type": "object"}}
    if sign_in:
        made["annotations"] = {"readOnlyHint": True, "idempotentHint": True}
        made["_meta"] = {SIGN_IN_META: True}
    return made
