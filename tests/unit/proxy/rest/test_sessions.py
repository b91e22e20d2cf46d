"""`/sessions`: for whom calls are, over real stores."""

import base64
import json
import time
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.services.rest.claims import expires_at
from support.gateway import Gateway, make_config, running_gateway

from .backends import calculator
from .conftest import Rest, call, problem

APP, ALICE, BOB = "p" * 20, "a" * 20, "b" * 20
SECRETS = {"app": APP, "alice": ALICE, "bob": BOB}
AUTH: dict[str, Any] = {
    "auth": {"apiKeys": [{"name": name, "secret": {"file": name}} for name in SECRETS]},
    "users": {"applications": ["app"]},
}
PROVIDER = {"name": "corp", "kind": "oidc", "issuer": "https://id.example", "clientId": "c"}


def key(value: str | None) -> dict[str, str]:
    return {} if value is None else {"x-api-key": value}


async def start(gateway: Gateway, who: str | None = None, **body: Any) -> httpx2.Response:
    return await gateway.http.post(f"{gateway.base}/sessions/start", json=body, headers=key(who))


async def test_the_life_of_a_session_without_authentication(serving: Rest) -> None:
    async with (
        calculator() as served,
        calculator() as other,
        serving({"calc": served.url, "more": other.url}) as gateway,
    ):
        begun = await start(gateway, user_id="alice", mcp_servers=["calc"])
        body = begun.json()
        assert set(body) == {"session_id", "user_id", "mcp_servers", "created_at", "expires_at"}
        assert (body["user_id"], body["mcp_servers"]) == ("alice", ["ns/calc"])
        proof = {"user_id": "alice", "session_id": body["session_id"]}
        assert (await call(gateway, "calc.add", {"a": 1}, **proof)).json()["success"]
        problem(await call(gateway, "more.add", {"a": 1}, **proof), "forbidden")
        problem(await call(gateway, "calc.add", {"a": 1}, user_id="alice", session_id="guessed"), "unknown-session")
        problem(await call(gateway, "calc.add", {"a": 1}, user_id="alice"), "forbidden")
        problem(
            await call(gateway, "calc.add", {"a": 1}, user_id="bob", session_id=proof["session_id"]), "unknown-session"
        )
        problem(await call(gateway, "calc.add", {"a": 1}, session_id=proof["session_id"]), "invalid-request")
        sessions = (await gateway.get("/sessions")).json()
        assert [session["user_id"] for session in sessions["sessions"]] == ["alice"]
        assert body["session_id"] not in str(sessions)
        renewed = (await start(gateway, user_id="alice")).json()
        problem(await call(gateway, "calc.add", {"a": 1}, **proof), "unknown-session")
        assert (await call(gateway, "more.add", {"a": 1}, user_id="alice", session_id=renewed["session_id"])).json()[
            "success"
        ]
        ended = await gateway.http.delete(f"{gateway.base}/sessions/alice")
        assert set(ended.json()) == {"success", "servers_stopped", "stopped_at"}
        assert ended.json()["success"] is True
        problem(await gateway.http.delete(f"{gateway.base}/sessions/alice"), "unknown-session")


async def test_who_may_act_for_whom(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **AUTH) as gateway:
        problem(await start(gateway, ALICE, user_id="carol"), "forbidden")
        assert (await start(gateway, APP, user_id="carol")).status_code == 200
        assert (await start(gateway, ALICE, user_id="key/alice")).status_code == 422  # no name that can be given
        assert (await call(gateway, "calc.add", {"a": 1}, headers=key(APP), user_id="carol")).json()["success"]
        problem(await call(gateway, "calc.add", {"a": 1}, headers=key(APP), user_id="nobody"), "unknown-session")
        problem(await call(gateway, "calc.add", {"a": 1}, headers=key(BOB), user_id="carol"), "forbidden")
        assert (await call(gateway, "calc.add", {"a": 1}, headers=key(BOB))).json()["success"]
        assert (await gateway.get("/sessions", headers=key(BOB))).json()["total"] == 0
        assert (await gateway.get("/sessions", headers=key(APP))).json()["total"] == 1
        problem(await gateway.http.delete(f"{gateway.base}/sessions/carol", headers=key(BOB)), "forbidden")
        assert (await gateway.http.delete(f"{gateway.base}/sessions/carol", headers=key(APP))).json()["success"]


async def test_a_token_is_kept_for_its_provider_and_never_shown(serving: Rest) -> None:
    async with serving({}, providers=[PROVIDER]) as gateway:
        answer = await start(gateway, user_id="alice", oauth_token="hunter2", refresh_token="hunter3", provider="corp")
        assert answer.status_code == 200
        stored = await gateway.proxy.services.credentials.vault.get("alice", "corp")
        assert stored is not None
        assert (stored.token.access_token, stored.token.refresh_token) == ("hunter2", "hunter3")
        assert "hunter" not in answer.text + (await gateway.get("/sessions")).text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/user_id"),
        ({"user_id": "a b"}, "#/user_id"),
        ({"user_id": "alice", "provider": "nobody"}, "#/provider"),
        ({"user_id": "alice", "oauth_token": "hunter2"}, "#/provider"),
        ({"user_id": "alice", "refresh_token": "hunter2"}, "#/oauth_token"),
        ({"user_id": "alice", "mcp_servers": ["calc", "gone"]}, "#/mcp_servers/0"),
        ({"user_id": "alice", "mcp_servers": "calc"}, "#/mcp_servers"),
        ({"user_id": "alice", "token": "hunter2"}, "#/token"),
    ],
)
async def test_bad_starts(serving: Rest, body: dict[str, Any], pointer: str) -> None:
    async with serving({}, providers=[PROVIDER]) as gateway:
        found = problem(await start(gateway, **body), "invalid-request")
        assert found["errors"][0]["pointer"] == pointer
        assert "hunter2" not in str(found)


async def test_there_is_a_most_of_sessions(serving: Rest) -> None:
    async with serving({}, users={"maxSessions": 1}) as gateway:
        assert (await start(gateway, user_id="alice")).status_code == 200
        refused = await start(gateway, user_id="bob")
        problem(refused, "too-many-sessions")
        assert int(refused.headers["retry-after"]) > 0


async def test_a_redis_that_is_away() -> None:
    stores = {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "key"}]}
    secrets = {"redis": "redis://127.0.0.1:9/0", "key": "k" * 40}
    async with running_gateway(make_config({}, rest={}, stores=stores), secrets) as gateway:
        answer = await start(gateway, user_id="alice")
        problem(answer, "store-unavailable")
        assert answer.headers["retry-after"]


def _jwt(claims: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{middle}.sig"


def test_when_a_token_ends() -> None:
    soon = time.time() + 60
    assert expires_at(_jwt({"exp": soon})) == soon
    for token in ("opaque", "a.b.c", "a.b", _jwt([]), _jwt({"exp": True}), _jwt({"exp": "x"}), _jwt({}), "é.é.é"):
        assert expires_at(token) is None
