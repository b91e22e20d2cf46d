"""A bridge whose processes have tokens of their users: it tells the operator nothing, and that is a sign of life."""

from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from unit.proxy.bridge.harness import running, settings


async def test_a_bridge_that_wants_tokens_lives_as_it_asks_for_them() -> None:
    own = settings(isolation="user", identity_key="k" * 32, credential_env="TOKEN")
    async with running(own) as bridge:
        found = await probe(Target(url=bridge.url, transport="streamable-http", guarded=True))
        assert found.error is None
        assert found.facts is not None
        assert found.facts.tools == ()
        refused = await probe(Target(url=bridge.url, transport="streamable-http"))
        assert refused.error is not None
        assert refused.error.error_class == "Unauthorized"
        assert bridge.hub.health().processes == 0
