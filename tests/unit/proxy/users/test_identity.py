"""Which user a caller is, and for whom it may act."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import Users
from mcp_operator_proxy.services.users.identity import (
    MOST,
    BadUser,
    NotTheirs,
    acting_user,
    checked,
    owners_of,
    pseudonym,
    user_of,
)

USERS = Users(issuer="corp", applications=("app", "corp/portal"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        (None, None),
        (Principal("ci"), "key/ci"),
        (Principal("alice", "corp"), "alice"),
        (Principal("alice", "partner"), "partner/alice"),
        (Principal("key/ci", "corp"), "key%2Fci"),
        (Principal("partner/alice", "corp"), "partner%2Falice"),
        (Principal("a b%", "corp"), "a%20b%25"),
        (Principal("jürgen@example.org", "corp"), "jürgen@example.org"),
        (Principal("auth0|123", "corp"), "auth0|123"),
    ],
)
def test_who_a_caller_is(principal: Principal | None, user: str | None) -> None:
    assert user_of(principal, USERS) == user


@pytest.mark.parametrize(
    ("user", "owners"),
    [
        ("key/ci", {"key/ci", "user key/ci", "ci"}),
        ("alice", {"alice", "user alice", "corp/alice"}),
        ("partner/a%20b", {"partner/a%20b", "user partner/a%20b", "partner/a b"}),
    ],
)
def test_whose_a_users_processes_are(user: str, owners: set[str]) -> None:
    assert set(owners_of(user, USERS)) == owners
    assert set(owners_of("alice", Users())) == {"alice", "user alice"}


NAMES = st.text(min_size=1, max_size=300)
CALLERS = st.builds(Principal, NAMES, st.sampled_from(["corp", "partner", "other"])) | st.builds(
    Principal, st.from_regex(r"\A[A-Za-z0-9._@-]{1,128}\Z")
)


@given(CALLERS)
def test_what_is_a_callers_is_that_users(caller: Principal) -> None:
    user = user_of(caller, USERS)
    assert user is not None
    assert caller.key in owners_of(user, USERS) or "sha256:" in user


@given(CALLERS, CALLERS)
def test_two_callers_are_never_one_user(one: Principal, other: Principal) -> None:
    first, second = user_of(one, USERS), user_of(other, USERS)
    assert first is not None
    assert len(first) <= MOST
    assert (first == second) == (one == other)


@given(NAMES)
def test_no_name_that_an_application_gives_is_a_caller_of_a_key_or_another_issuer(name: str) -> None:
    try:
        user = checked(name)
    except BadUser:
        return
    assert "/" not in user


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\n", "x" * 256, "\x00"])
def test_what_cannot_be_a_user(name: str) -> None:
    with pytest.raises(BadUser, match="1 to 255 characters"):
        checked(name)


@pytest.mark.parametrize(
    ("principal", "named", "authenticated", "user"),
    [
        (Principal("ci"), None, True, "key/ci"),
        (Principal("ci"), "key/ci", True, "key/ci"),
        (Principal("app"), "bob", True, "bob"),
        (Principal("portal", "corp"), "bob", True, "bob"),
        (None, "bob", False, "bob"),
        (None, None, True, None),
    ],
)
def test_for_whom_a_caller_acts(principal: Principal | None, named: str, authenticated: bool, user: str | None) -> None:
    assert acting_user(principal, USERS, named, authenticated=authenticated) == user


@pytest.mark.parametrize("principal", [Principal("ci"), Principal("app", "partner"), Principal("alice", "corp"), None])
def test_others_act_for_themselves_alone(principal: Principal | None) -> None:
    with pytest.raises(NotTheirs, match="for itself alone"):
        acting_user(principal, USERS, "bob", authenticated=True)


def test_a_digest_stands_for_a_user() -> None:
    shown = [pseudonym(user) for user in ("key/ann", "ann", "key/ann")]
    assert shown[0] == shown[2] != shown[1]
    assert shown[1] == "user " + hashlib.sha256(b"mcp-operator user:ann").hexdigest()[:8]
