"""The client side of the deprecated HTTP+SSE transport (MCP 2024-11-05): answers come on one standing stream.

Unlike the SDK's, whose messages may have 1 MiB, it takes a limit, says why the stream broke, and leaves its HTTP client open.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.abc
import httpx2
from mcp.shared._context_streams import ContextReceiveStream, ContextSendStream, create_context_streams
from mcp.shared._httpx_utils import request_within_origin, stream_within_origin
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import NotMCPFailure

Incoming: TypeAlias = SessionMessage | Exception
Streams: TypeAlias = tuple[ContextReceiveStream[Incoming], ContextSendStream[SessionMessage]]


@contextlib.asynccontextmanager
async def sse_client(
    url: str, http: httpx2.AsyncClient, *, max_event: int, on_broken: Callable[[Exception], None]
) -> AsyncIterator[Streams]:
    """The streams of a session with the server at `url`. `on_broken` is told why the standing stream broke.

    Raises:
        NotMCPFailure: there is no event stream, or it names an endpoint on another origin.
        httpx2.HTTPError: no connection, or an HTTP error.
    """
    to_session, read = create_context_streams[Incoming](0)
    write, from_session = create_context_streams[SessionMessage](0)
    headers = {"accept": "text/event-stream", "cache-control": "no-store"}
    async with (
        to_session,
        read,
        write,
        from_session,
        stream_within_origin(http, "GET", url, headers=headers) as response,
        anyio.create_task_group() as tasks,
    ):
        response.raise_for_status()
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise NotMCPFailure(f"it answered with {kind or 'no content type'}")
        events = httpx2.EventSource(response, max_event_size=max_event)
        endpoint = await tasks.start(_receive, url, events, to_session, on_broken)
        tasks.start_soon(_post, http, endpoint, from_session)
        yield read, write
        tasks.cancel_scope.cancel()


async def _receive(
    url: str,
    events: httpx2.EventSource,
    to_session: ContextSendStream[Incoming],
    on_broken: Callable[[Exception], None],
    *,
    task_status: anyio.abc.TaskStatus[str],
) -> None:
    begun = False
    async with to_session:
        try:
            async for event in events:
                if event.event == "endpoint" and not begun:
                    task_status.started(_endpoint(url, event.data))
                    begun = True
                elif event.event == "message" and event.data:
                    await to_session.send(_message(event.data))
        except (httpx2.RequestError, OSError) as error:
            if not begun:
                raise
            on_broken(error)
        if not begun:
            raise NotMCPFailure("its event stream ended before it named an endpoint")


def _message(data: str) -> Incoming:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(data, by_name=False))
    except ValidationError as error:
        return error


def _endpoint(url: str, told: str) -> str:
    endpoint = urljoin(url, told)
    if urlsplit(endpoint)[:2] != urlsplit(url)[:2]:
        raise NotMCPFailure("its endpoint is on another origin")
    return endpoint


async def _post(http: httpx2.AsyncClient, endpoint: str, from_session: ContextReceiveStream[SessionMessage]) -> None:
    """Send the session's messages one after the other, each in the context of whoever sent it."""

    async def send(message: SessionMessage) -> None:
        body = message.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        with contextlib.suppress(httpx2.HTTPError):  # the transport beneath has noted it
            await request_within_origin(http, "POST", endpoint, json=body)

    async for message in from_session:
        async with anyio.create_task_group() as one:
            context = from_session.last_context
            if context is None:
                one.start_soon(send, message)
            else:
                context.run(one.start_soon, send, message)
