"""`/sessions`: of users, begun by applications."""

from datetime import UTC, datetime

from fastapi import APIRouter

from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asked, Asking
from mcp_operator_proxy.services.rest.claims import expires_at
from mcp_operator_proxy.services.rest.models import Session, SessionEnded, SessionList, SessionStart, SessionStarted
from mcp_operator_proxy.services.rest.problems import Fault, ProblemError, responses
from mcp_operator_proxy.services.users.identity import acts_for_others
from mcp_operator_proxy.services.users.record import UserSessionRecord
from mcp_operator_proxy.services.users.sessions import TooManySessions

router = APIRouter(prefix="/sessions", tags=["sessions"])
_COMMON = (
    problems.UNAUTHENTICATED,
    problems.FORBIDDEN,
    problems.INVALID_REQUEST,
    problems.WRONG_HOST,
    problems.NEEDS_REDIS,
    problems.STORE_DOWN,
)
_START = (*_COMMON, problems.MALFORMED, problems.TOO_LARGE, problems.TOO_MANY_SESSIONS)


@router.post("/start", operation_id="startSession", responses=responses(*_START))
async def start(asked: Asked, body: SessionStart) -> SessionStarted:
    """Begin a user's session. One that the user has is renewed, and its id becomes unknown."""
    asked.needs_shared()
    user = asked.user(body.user_id)
    assert user is not None
    servers = _servers(asked, body.mcp_servers)
    token = _token(asked, body)
    try:
        record = await asked.proxy.services.users.start(user, body.provider, token, servers)
    except TooManySessions as error:
        raise ProblemError(problems.TOO_MANY_SESSIONS, str(error), retry_after=60.0) from None
    assert record.session_id is not None
    return SessionStarted(
        session_id=record.session_id,
        user_id=record.user_id,
        mcp_servers=list(record.servers),
        created_at=_time(record.created_at),
        expires_at=_time(record.expires_at),
    )


@router.get("", operation_id="listSessions", responses=responses(*_COMMON))
async def list_sessions(asked: Asked) -> SessionList:
    """All that live, for applications and operators; for others their own."""
    asked.needs_shared()
    found = await asked.proxy.services.users.list()
    if not asked.is_operator and not acts_for_others(asked.principal, asked.state.config.users):
        found = [record for record in found if record.user_id == asked.own_user]
    shown = [_shown(record) for record in found]
    return SessionList(sessions=shown, total=len(shown))


@router.delete("/{user_id:path}", operation_id="endSession", responses=responses(*_COMMON, problems.UNKNOWN_SESSION))
async def end(asked: Asked, user_id: str) -> SessionEnded:
    """End a user's session, and what runs for it in every replica."""
    asked.needs_shared()
    user = user_id if asked.is_operator and asked.authenticated else asked.user(user_id)
    assert user is not None
    users = asked.proxy.services.users
    if await users.find(user) is None:
        raise ProblemError(problems.UNKNOWN_SESSION, "the user has no session")
    stopped = await users.end(user, "ended")
    return SessionEnded(success=True, servers_stopped=list(stopped), stopped_at=datetime.now(UTC))


def _servers(asked: Asking, names: list[str]) -> list[str]:
    faults, found = [], []
    for index, name in enumerate(names):
        try:
            found.append(asked.server(name).id)
        except ProblemError as error:
            faults.append(Fault(detail=error.detail, pointer=problems.fragment("mcp_servers", index)))
    if faults:
        raise ProblemError(problems.INVALID_REQUEST, "some of mcp_servers are not known", errors=faults[:10])
    return found


def _token(asked: Asking, body: SessionStart) -> Token | None:
    known = {provider.name for provider in asked.state.config.providers}
    if body.provider is not None and body.provider not in known:
        raise _wrong("provider", "there is no provider of this name")
    if body.oauth_token is None:
        if body.refresh_token is not None:
            raise _wrong("oauth_token", "a refresh_token comes with the oauth_token")
        return None
    if body.provider is None:
        raise _wrong("provider", "a token comes with the provider that issued it")
    return Token(body.oauth_token, body.refresh_token, expires_at(body.oauth_token))


def _wrong(member: str, detail: str) -> ProblemError:
    return ProblemError(
        problems.INVALID_REQUEST, detail, errors=[Fault(detail=detail, pointer=problems.fragment(member))]
    )


def _shown(record: UserSessionRecord) -> Session:
    return Session(
        user_id=record.user_id,
        mcp_servers=list(record.servers),
        provider=record.provider,
        created_at=_time(record.created_at),
        last_activity=_time(record.last_activity),
        expires_at=_time(record.expires_at),
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
