"""A token where a server finds it: in the header `Authorization`, in the environment of its process, or sealed for a bridge. Pure."""

from dataclasses import replace
from typing import Final

from mcp_operator_proxy.backends.resolved import ResolvedServer

WAITS: Final = "it waits for a token from its authorization server"


def shown(resolved: ResolvedServer, token: str) -> ResolvedServer:
    env = resolved.server.credential_env
    if env is not None:
        return replace(resolved, env={**resolved.env, env: token}, waits="")
    if resolved.server.credential_sealed:
        return replace(resolved, sealed=token, waits="")
    return replace(resolved, headers={**resolved.headers, "Authorization": f"Bearer {token}"}, waits="")


def token_shown(resolved: ResolvedServer) -> str | None:
    """The token that the server is shown now; None where it is shown none."""
    if resolved.server.credential is None or resolved.waits:
        return None
    if resolved.server.credential_env is not None:
        return resolved.env.get(resolved.server.credential_env)
    if resolved.server.credential_sealed:
        return resolved.sealed
    value = resolved.headers.get("Authorization")
    return value.removeprefix("Bearer ") if value is not None else None
