"""Who asks, and what the proxy is at this moment: what every operation begins with."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.services.names import named
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.problems import ProblemError
from mcp_operator_proxy.services.users.identity import BadUser, NotTheirs, acting_user, user_of
from mcp_operator_proxy.state import State

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy


class Asking:
    """One request."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.proxy: Proxy = request.app.state.proxy
        found = request.scope.get(PRINCIPAL)
        self.principal: Principal | None = found if isinstance(found, Principal) else None

    @property
    def state(self) -> State:
        state = self.proxy.state
        if state is None:
            raise ProblemError(problems.NOT_READY, "no configuration is in use")
        return state

    @property
    def authenticated(self) -> bool:
        """Whether the proxy asks callers who they are at all."""
        return self.state.authenticator is not None

    @property
    def is_operator(self) -> bool:
        rest = self.state.config.rest
        if not self.authenticated:
            return True
        return rest is not None and self.principal is not None and self.principal.key in rest.operators

    def needs_operator(self) -> None:
        if not self.is_operator:
            raise ProblemError(problems.FORBIDDEN, "only the callers that rest.operators names may do this")

    @property
    def own_user(self) -> str | None:
        return user_of(self.principal, self.state.config.users)

    def user(self, asked: str | None) -> str | None:
        """For whom the request is. Raises ProblemError."""
        try:
            return acting_user(self.principal, self.state.config.users, asked, authenticated=self.authenticated)
        except NotTheirs as error:
            raise ProblemError(problems.FORBIDDEN, str(error)) from None
        except BadUser as error:
            raise ProblemError(problems.INVALID_REQUEST, str(error)) from None

    def server(self, name: str) -> Server:
        """By `namespace/name`, or by a name that only one namespace has. Raises ProblemError."""
        found = named(self.state.config.servers, name)
        if not found:
            raise ProblemError(problems.UNKNOWN_SERVER, "there is no server of this name")
        if len(found) > 1:
            listed = ", ".join(server.id for server in found)
            raise ProblemError(problems.AMBIGUOUS_SERVER, f"say which one is meant: {listed}")
        return found[0]

    def needs_shared(self) -> None:
        """What other workers have to know of needs a store that they share."""
        forwarder = self.proxy.holder.forwarder
        if forwarder is not None and forwarder.peers.siblings and not self.proxy.services.stores.shared:
            raise ProblemError(
                problems.NEEDS_REDIS, "several workers serve here, and only with stores.redis do all know it"
            )

    def route(self, path: str) -> None:
        """The route whose tool it was, for the access log."""
        self.request.scope[ROUTE] = path

    def note(self, **what: Any) -> None:
        """For the access log."""
        self.request.scope.update(what)


ROUTE = "mcp_operator_proxy.route"
"""Key of an ASGI scope; `App` writes it into the access log."""
Asked = Annotated[Asking, Depends(Asking)]
