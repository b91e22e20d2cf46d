"""What a client gets whose user has to sign in before a server can be asked: a URL to visit, where there is one. Pure.

A client that says that it shows URLs (elicitation in `url` mode) is asked to: up to 2025-11-25 by error -32042, in 2026-07-28
by a result that asks, after which it sends its request again. Any other one gets it in words, as the result of its call.
"""

import secrets
from typing import TYPE_CHECKING, Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST, URL_ELICITATION_REQUIRED

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.eras import translate
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.eras.exchange import principal_of
from mcp_operator_proxy.eras.parked import Leg, ParkingLot
from mcp_operator_proxy.eras.states import binding_of
from mcp_operator_proxy.services.credentials.token import CredentialProblem
from mcp_operator_proxy.services.users.personal import SIGN_IN

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.relay import FrontContext

Json = dict[str, Any]
_CALL: Final = "tools/call"


def asked_to_sign_in(ctx: "FrontContext", problem: CredentialProblem, lot: ParkingLot, route: str) -> Json:
    """The result. Raises MCPError where the client's era or the method has no result that could say it."""
    url, modern = problem.sign_in_url, translate.is_modern(ctx.protocol_version)
    words = problem.message if url is None or url in problem.message else f"{problem.message}: {url}"
    if url is not None:
        question = {"mode": "url", "message": problem.message, "url": url, "elicitationId": secrets.token_hex(16)}
        declared = ctx.session.client_capabilities
        said = declared.model_dump(by_alias=True, mode="json", exclude_none=True) if declared is not None else {}
        if translate.refusal("elicitation/create", question, said) is None:
            if not modern:
                raise MCPError(URL_ELICITATION_REQUIRED, words, {"elicitations": [question]})
            principal, params = principal_of(ctx), ctx.params or {}
            binding = binding_of(principal, route, ctx.method, params)
            leg = Leg(ctx, principal, binding, Capabilities.of(declared, principal), params)
            return lot.ask_anew(leg, {"sign-in": translate.question_for_modern("elicitation/create", question)})
    if ctx.method == _CALL:
        return translated({"content": [{"type": "text", "text": words}], "isError": True}, modern=modern)
    raise MCPError(INVALID_REQUEST, words, {"signInUrl": url} if url is not None else None)


def stands_in(name: str, catalogue: Catalogue) -> bool:
    """Whether a call is of the tool that stood for those of a server before its user had signed in."""
    return name == SIGN_IN and all(tool["name"] != SIGN_IN for tool in catalogue.tools)


def signed_in(server: str, *, modern: bool) -> Json:
    """The result of a call of that tool by a user who has."""
    text = f"You are signed in to {server}. List the tools again to see what it has."
    return translated({"content": [{"type": "text", "text": text}]}, modern=modern)


def translated(result: Json, *, modern: bool) -> Json:
    """A result of the proxy's own as the client's era has it."""
    return translate.result_for_modern(_CALL, result) if modern else result
