"""Telling the bridge of a server that has a process for each user which users are gone."""

import logging
from collections.abc import Iterable
from urllib.parse import urlencode

import httpx2

from mcp_operator_proxy.backends.http import BackendTransport, http_client
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.stdio import key_of_owner
from mcp_operator_proxy.callers import GONE

logger = logging.getLogger(__name__)


async def tell_gone(resolved: ResolvedServer, owners: Iterable[str]) -> bool:
    """Have the processes of these owners end after their calls. Whether the bridge had one of them.

    A bridge that cannot be reached, or is of a version that does not know this, ends them when they are idle: that is logged.
    """
    server = resolved.server
    query = urlencode([(GONE, key_of_owner(owner)) for owner in owners])
    transport = BackendTransport(
        resolved.headers, server.ca_bundle, http2=server.http2, identity=resolved.identity, egress=resolved.egress
    )
    try:
        async with http_client(transport, server.connect_timeout_seconds) as client:
            answer = await client.delete(f"{server.url}?{query}", timeout=server.connect_timeout_seconds)
    except (httpx2.HTTPError, OSError) as error:
        logger.warning("a bridge was not told that a user is gone", extra={"server": server.id, "error": str(error)})
        return False
    if answer.status_code not in {204, 404}:
        logger.warning(
            "a bridge did not take that a user is gone", extra={"server": server.id, "status": answer.status_code}
        )
    return answer.status_code == 204
