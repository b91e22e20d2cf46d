"""`--ui`: each local gateway has an inspector."""

import pytest

from mcp_operator.local.gateways import inspected
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
