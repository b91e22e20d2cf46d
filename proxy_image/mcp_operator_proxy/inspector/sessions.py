"""`sessions`: clients' sessions, users' sessions, and whether users' credentials are good. No token ever stands here."""

from collections.abc import Iterator
from datetime import UTC, datetime

from fastapi import APIRouter

from mcp_operator_proxy.config import AuthorizationCode, Server, TokenExchange, UserToken
from mcp_operator_proxy.inspector import own, together
from mcp_operator_proxy.inspector.asking import Look, Looking
from mcp_operator_proxy.inspector.models import (
    ClientSessions,
    CredentialItem,
    CredentialState,
    Sessions,
    UserSessionItem,
)
from mcp_operator_proxy.services.credentials.token import issuer_of
from mcp_operator_proxy.services.users.record import UserSessionRecord
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

router = APIRouter()
MOST = 1000
"""Credentials of one answer."""


@router.get("/sessions")
async def sessions(look: Look) -> Sessions:
    """An operator's answer has those of all; anybody else's his own."""
    others = await look.proxy.services.siblings.ask_all("/inspector/sessions", ClientSessions)
    client = together.sessions(own.sessions(look.proxy), others)
    users = await look.proxy.services.users.list()
    if not look.is_operator:
        client = [session for session in client if look.caller_key is not None and session.caller == look.caller_key]
        users = [record for record in users if look.own_user is not None and record.user_id == look.own_user]
    return Sessions(client=client, users=[_user(record) for record in users], credentials=await _credentials(look))


def _user(record: UserSessionRecord) -> UserSessionItem:
    return UserSessionItem(
        user=record.user_id,
        servers=list(record.servers),
        provider=record.provider,
        created_at=_time(record.created_at),
        last_activity=_time(record.last_activity),
        expires_at=_time(record.expires_at),
    )


async def _credentials(look: Looking) -> list[CredentialItem]:
    user = look.own_user
    needed: dict[str, list[str]] = {}
    for server, issuer in _issuers(look):
        needed.setdefault(issuer, []).append(server.id)
    if not needed or (user is None and not look.is_operator):
        return []
    kept = await look.proxy.services.credentials.vault.overview(None if look.is_operator else user, MOST)
    found = []
    for one in kept:
        mine = user is not None and one.user == user
        wants = one.problem is not None
        found.append(
            CredentialItem(
                user=one.user,
                issuer=one.issuer,
                servers=needed.get(one.issuer, []),
                state=_state(one.problem, one.failures, one.expires_at),
                expires_at=one.expires_at,
                refreshed_at=one.updated_at if not one.failures else None,
                problem=one.problem,
                sign_in_url=await _offer(look, one.issuer, user) if mine and wants and user else None,
            )
        )
    missing = [issuer for issuer in needed if not any((one.user, one.issuer) == (user, issuer) for one in kept)]
    for issuer in missing if user is not None else ():
        assert user is not None
        found.append(
            CredentialItem(
                user=user,
                issuer=issuer,
                servers=needed[issuer],
                state="signInNeeded",
                expires_at=None,
                refreshed_at=None,
                problem="you have not signed in yet",
                sign_in_url=await _offer(look, issuer, user),
            )
        )
    return found


def _issuers(look: Looking) -> Iterator[tuple[Server, str]]:
    """Servers that are shown a user's own token, and whose it is."""
    for server in look.state.config.servers:
        match server.credential:
            case UserToken(provider=provider):
                yield server, provider
            case TokenExchange(provider=str(provider)):
                yield server, provider
            case AuthorizationCode():
                yield server, issuer_of(server.id)


def _state(problem: str | None, failures: int, expires_at: datetime | None) -> CredentialState:
    if problem is not None:
        return "signInNeeded"
    if failures:
        return "refreshFailed"
    return "expired" if expires_at is not None and expires_at <= datetime.now(UTC) else "valid"


async def _offer(look: Looking, issuer: str, user: str) -> str | None:
    """Where the caller himself signs in: for nobody else, as whoever opens it is that user from then on."""
    server = next(
        (s.id for s, name in _issuers(look) if name == issuer and isinstance(s.credential, AuthorizationCode)), None
    )
    try:
        return await look.proxy.services.credentials.offer(user, provider=None if server else issuer, server=server)
    except StoreUnavailable:
        return None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
