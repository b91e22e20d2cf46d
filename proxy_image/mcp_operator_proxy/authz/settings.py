"""The policy that a configuration wants. Pure."""

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.policy import ALLOW_ALL, Limited, Policy
from mcp_operator_proxy.swap.validate import installed


def policy_of(config: ProxyConfig) -> Policy:
    """Raises ConfigRejected where the policies cannot be read."""
    keys = config.auth.api_keys if config.auth else ()
    limited = {key.name: frozenset(key.calls) for key in keys if key.calls is not None}
    return Limited(_policies(config), limited) if limited else _policies(config)


def _policies(config: ProxyConfig) -> Policy:
    if config.authorization is None:
        return ALLOW_ALL
    installed("authorization", ("cedarpy",), config.revision)
    from mcp_operator_proxy.authz.policy import make  # noqa: PLC0415 - an extra, and only who has policies pays for it

    return make(config)
