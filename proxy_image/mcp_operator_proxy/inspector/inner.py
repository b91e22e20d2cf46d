"""What a worker tells its siblings and other replicas of what the inspector shows. They have checked who asks."""

from pydantic import BaseModel
from starlette.datastructures import QueryParams

from mcp_operator_proxy.inspector import own, traffic
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.recording import EVERYBODY


async def answer(proxy: Proxy, path: str, query: QueryParams) -> BaseModel | None:
    """None where there is nothing at the path."""
    match path:
        case "/inspector/fleet":
            return own.fleet(proxy)
        case "/inspector/server":
            return own.detail(proxy, query.get("server", ""))
        case "/inspector/sessions":
            return own.sessions(proxy)
        case "/inspector/traffic":
            return await traffic.own(proxy, traffic.cursor_of(query.get("after", "")), query.get("who", EVERYBODY))
        case "/inspector/swaps":
            return own.swaps(proxy)
        case "/inspector/definitions":
            return own.definitions(proxy)
    return None
