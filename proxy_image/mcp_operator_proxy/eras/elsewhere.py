"""A request that goes on with a call which another worker or replica holds: it is handed on to that one.

The state of the request says who that is, under the key that all of them share; a process that has come to that address
since is not asked. Where the holder has gone the full path says that the call is lost.
"""

import json
import logging
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.eras.parked import ParkingLot
from mcp_operator_proxy.sessions.forward import HOP, Exchange, Hop, Outcome, lost
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.table import read_body, replaying

logger = logging.getLogger(__name__)


async def handed_on(lot: ParkingLot, holder: Holder, scope: Scope, receive: Receive, send: Send) -> Receive | None:
    """None where another process has answered; otherwise the request's body again, to be served here."""
    forwarder = holder.forwarder
    if forwarder is None or HOP in scope or scope["method"] != "POST":
        return receive
    body = await read_body(receive)
    held = lot.elsewhere(_params(body)) if b'"requestState"' in body else None
    if held is None or await forwarder.instance(held.owner, holder.keys) != held.instance:
        return replaying(body, receive)
    outcome = await forwarder.forward(held.owner, Hop.HOLD, Exchange(scope, body, receive, send))
    if outcome is Outcome.LOST:
        await Response(lost(body), 200, media_type="application/json")(scope, receive, send)
    elif outcome is not Outcome.ANSWERED:
        return replaying(body, receive)
    scope.setdefault("mcp_method", "forwarded")  # the holder counts it
    return None


def _params(body: bytes) -> Mapping[str, object]:
    try:
        params = json.loads(body)["params"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return params if isinstance(params, dict) else {}
