"""A key that is for some tools alone: the operator's. It may use and see just these, whatever policies say; others feel nothing of it."""

from typing import Any

import pytest

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authz.settings import policy_of
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import OPERATOR, ProxyConfig, Users
from mcp_operator_proxy.policy import ALLOW_ALL, is_open
from mcp_operator_proxy.services.users.identity import user_of
from mcp_operator_proxy.table import RouteTable, build_table

OWN, APP, IMPOSTOR = Principal(OPERATOR), Principal("app"), Principal(OPERATOR, "corp")
DENY = "forbid (principal, action, resource);"
PERMIT = "permit (principal, action, resource);"


def config(policies: str | None, calls: list[str] | None) -> ProxyConfig:
    key: dict[str, Any] = {"name": OPERATOR, "secret": {"file": "a"}} | ({} if calls is None else {"calls": calls})
    return ProxyConfig.model_validate(
        {
            "revision": "1",
            "servers": [{"id": "ns/files", "url": "http://127.0.0.1:1/mcp"}],
            "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/files", "prefix": "files"}]}],
            "auth": {"apiKeys": [key, {"name": "app", "secret": {"file": "b"}}]},
            **({} if policies is None else {"authorization": {"policies": policies}}),
        }
    )


def table(wanted: ProxyConfig) -> RouteTable:
    listed = tuple({"name": name, "inputSchema": {"type": "object"}} for name in ("read", "write"))
    catalogue = Catalogue(tools=listed, prompts=({"name": "summary"},), resources=({"uri": "file:///a", "name": "a"},))
    return build_table(wanted, {"ns/files": catalogue})["/mcp"]


@pytest.mark.parametrize(
    ("policies", "calls", "sees", "app_sees"),
    [
        (None, [], set(), {"files_read", "files_write"}),
        (None, ["ns/files/read"], {"files_read"}, {"files_read", "files_write"}),
        (DENY, ["ns/files/read"], {"files_read"}, set()),
        (PERMIT, ["ns/files/write", "ns/other/read"], {"files_write"}, {"files_read", "files_write"}),
        (PERMIT, None, {"files_read", "files_write"}, {"files_read", "files_write"}),
        (DENY, None, set(), set()),
    ],
)
def test_what_it_may_use(policies: str | None, calls: list[str] | None, sees: set[str], app_sees: set[str]) -> None:
    wanted = config(policies, calls)
    policy, whole = policy_of(wanted), table(wanted)
    for principal, expected in ((OWN, sees), (APP, app_sees), (IMPOSTOR, app_sees), (None, app_sees)):
        assert {*policy.visible(principal, whole).tools} == expected
        allowed = {
            name
            for name, entry in whole.tools.items()
            if policy.refusal(principal, "/mcp", "tool", name, entry) is None
        }
        assert allowed == expected
    if calls is not None:
        assert not policy.visible(OWN, whole).prompts
        (prompt,) = whole.prompts.items()
        assert policy.refusal(OWN, "/mcp", "prompt", *prompt) is not None
    assert is_open(policy, APP) == (policies is None)
    assert is_open(policy, OWN) == (policies is None and calls is None)
    assert policy == policy_of(wanted)


def test_without_such_a_key_nothing_is_asked() -> None:
    assert policy_of(config(None, None)) is ALLOW_ALL


def test_the_operator_is_no_user() -> None:
    assert user_of(OWN, Users()) is None
    assert user_of(IMPOSTOR, Users(issuer="corp")) == OPERATOR
