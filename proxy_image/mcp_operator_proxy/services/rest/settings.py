"""Whether the REST interface can be served. Pure."""

from importlib.util import find_spec

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import ConfigRejected


def check_rest(config: ProxyConfig) -> None:
    """Raises ConfigRejected where its libraries, which are the inspector's too, are not installed."""
    if config.rest is not None and (find_spec("fastapi") is None or find_spec("swagger_ui_bundle") is None):
        raise ConfigRejected(
            "rest: the libraries for it are not installed: mcp-operator[gateway] has them", config.revision
        )
    if config.inspector is not None and find_spec("fastapi") is None:
        raise ConfigRejected(
            "inspector: the libraries for it are not installed: mcp-operator[gateway] has them", config.revision
        )
