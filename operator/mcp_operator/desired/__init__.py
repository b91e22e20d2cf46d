"""The objects that shall exist, as pure functions of resources and settings: one file a child object.

Bodies are plain dicts in the API's own shape, ready for server-side apply: they name what the operator wants and nothing
that somebody else may own.
"""

from mcp_operator.desired.proxy import proxy_objects
from mcp_operator.desired.server import server_objects
from mcp_operator.desired.settings import HostingSettings

__all__ = ["HostingSettings", "proxy_objects", "server_objects"]
