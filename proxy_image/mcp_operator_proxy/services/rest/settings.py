"""Whether the REST interface can be served. Pure."""

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import installed


def check_rest(config: ProxyConfig) -> None:
    """Raises ConfigRejected where its libraries, which are the inspector's too, are not installed."""
    if config.rest is not None:
        installed("rest", ("fastapi", "swagger_ui_bundle"), config.revision)
    if config.inspector is not None:
        installed("inspector", ("fastapi",), config.revision)
