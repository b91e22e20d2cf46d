"""Bodies of requests, read whole but not beyond a limit, and given to whoever reads them next."""

from starlette.types import Message, Receive


async def read_body(receive: Receive, most: int) -> bytes | None:
    """The whole body; None where it has more than `most` bytes or the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def replaying(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
