"""For which user a call is, and that it may be."""

from mcp_operator_proxy.services.names import owners
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asking
from mcp_operator_proxy.services.rest.problems import ProblemError


async def acting(asked: Asking, user_id: str | None, session_id: str | None, tool_id: str) -> str | None:
    """The user of a call, whose session is in use by it. Raises ProblemError, StoreUnavailable."""
    user = asked.user(user_id)
    if user is None:
        if session_id is not None:
            raise ProblemError(problems.INVALID_REQUEST, "a session_id comes with the user_id whose session it is")
        return None
    users = asked.proxy.services.users
    if session_id is None:
        if not asked.authenticated:
            raise ProblemError(problems.FORBIDDEN, "where nobody authenticates, a call for a user needs the session_id")
        if user == asked.own_user and not asked.state.config.users.applications:
            users.touch(user)
            return user
    asked.needs_shared()
    record = await users.find(user, session_id)
    if record is None:
        if session_id is None and user == asked.own_user:
            return user
        raise ProblemError(problems.UNKNOWN_SESSION, "the user has no session, or its id is another one")
    server = next(owners(asked.state.config.servers, tool_id), None)
    if record.servers and server is not None and server.id not in record.servers:
        raise ProblemError(problems.FORBIDDEN, "the session is not for this server", server_id=server.id)
    users.touch(user)
    return user
