"""`--ui`: each local gateway has an inspector; and under which names local gateways answer."""

import pytest

from mcp_operator.local.gateways import inspected, named
from mcp_operator_proxy.guard import refusal
from support.gateway import make_config


def test_what_the_manifests_say_of_it_stays() -> None:
    own = make_config({}, inspector={"traffic": False})
    assert inspected(own) is own
    plain = make_config({})
    assert inspected(plain).inspector is not None
    assert inspected(plain).revision == plain.revision


@pytest.mark.parametrize("more", [{"routes": [{"name": "r", "path": "/ui"}]}, {"rest": {"prefix": "/ui/x"}}])
def test_it_takes_nobodys_place(more: dict[str, object]) -> None:
    assert inspected(make_config({}, **more)).inspector is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", None),
        ("localhost:8080", None),
        ("[::1]:8080", None),
        ("host.docker.internal:8080", None),
        ("tools.example.com", None),
        ("evil.example:8080", 421),
        ("127.0.0.1.evil.example:8080", 421),
    ],
)
def test_on_loopback_a_gateway_answers_under_names_of_this_machine(host: str, status: int | None) -> None:
    config = named(make_config({}, publicUrl="https://tools.example.com"), "127.0.0.1")
    found = refusal(config, scheme="http", host=host, origin=None)
    assert (found[0] if found else None) == status


def test_names_of_the_manifest_are_the_ones() -> None:
    assert named(make_config({}, allowedHosts=["mine"]), "127.0.0.1").allowed_hosts == ("mine",)
    assert named(make_config({}), "0.0.0.0").allowed_hosts == ()
