"""A user's token on its way to the bridge: what is sent is opened · by another key, for another caller, changed, of another form: not.

a server of the configuration: what such a token needs
"""

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from mcp_operator_proxy import callers, callertoken
from mcp_operator_proxy.callertoken import CallerToken, NotOpened
from mcp_operator_proxy.config import Server

KEY = "k" * 32
ALICE = callers.signed(KEY, "user=alice", 1000)
SHOWN = CallerToken("tok-alice é", 12.5)


def test_what_is_sealed_is_opened_by_who_has_the_key() -> None:
    value = callertoken.sealed(KEY, ALICE, SHOWN)
    assert callertoken.opened(KEY, ALICE, value) == SHOWN
    assert value != callertoken.sealed(KEY, ALICE, SHOWN), "two requests show nothing alike"
    assert value.isascii()
    assert b"tok" not in base64.urlsafe_b64decode(value.removeprefix("v1 "))
    assert "tok" not in repr(SHOWN)


def _changed(value: str) -> str:
    held = bytearray(base64.urlsafe_b64decode(value.removeprefix("v1 ")))
    held[-1] ^= 1
    return f"v1 {base64.urlsafe_b64encode(held).decode()}"


@pytest.mark.parametrize(
    ("key", "caller", "value"),
    [
        ("x" * 32, ALICE, callertoken.sealed(KEY, ALICE, SHOWN)),
        (KEY, callers.signed(KEY, "user=bob", 1000), callertoken.sealed(KEY, ALICE, SHOWN)),
        (KEY, callers.signed(KEY, "user=alice", 1001), callertoken.sealed(KEY, ALICE, SHOWN)),
        (KEY, ALICE, _changed(callertoken.sealed(KEY, ALICE, SHOWN))),
        (KEY, ALICE, callertoken.sealed(KEY, ALICE, SHOWN).replace("v1", "v2")),
        (KEY, ALICE, callertoken.sealed(KEY, ALICE, SHOWN)[:20]),
        (KEY, ALICE, "v1 "),
        (KEY, ALICE, "v1 é"),
        (KEY, ALICE, ""),
    ],
    ids=["key", "user", "time", "changed", "version", "cut", "empty", "no text", "nothing"],
)
def test_nothing_else_opens(key: str, caller: str, value: str) -> None:
    with pytest.raises(NotOpened) as refused:
        callertoken.opened(key, caller, value)
    assert KEY not in str(refused.value)
    assert "tok" not in str(refused.value)


USER: dict[str, Any] = {"kind": "userToken", "provider": "corp"}
BRIDGED: dict[str, Any] = {"id": "a/b", "url": "http://b:1/mcp", "identity": {"file": "i"}, "credentialSealed": True}


def test_a_server_behind_a_bridge_has_a_credential_of_users() -> None:
    server = Server.model_validate({**BRIDGED, "credential": USER})
    assert server.of_users


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"identity": None, "credential": USER},
        {"credential": {"kind": "authorizationCode"}},
        {
            "credential": {
                "kind": "clientCredentials",
                "endpoint": {"url": "http://c/", "clientId": "x", "authentication": "none"},
            }
        },
        {"credential": USER, "credentialEnv": "A"},
    ],
)
def test_what_such_a_server_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"credentialSealed needs|credentialEnv is set with stdio"):
        Server.model_validate({**BRIDGED, **changes})


def test_nobody_signs_in_at_a_process() -> None:
    process = {"command": "x", "isolation": "user"}
    with pytest.raises(ValidationError, match="sign in with authorizationCode only at a url"):
        Server.model_validate(
            {"id": "a/b", "stdio": process, "credential": {"kind": "authorizationCode"}, "credentialEnv": "A"}
        )
