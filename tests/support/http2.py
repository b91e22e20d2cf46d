"""An ASGI app over TLS that speaks HTTP/2 where the client offers it by ALPN, and nothing else.

async with served_http2(app, certificate_file, key_file) as served:
    served.url        # https://127.0.0.1:PORT
    served.connections, served.streams
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError, StreamClosedError
from starlette.types import ASGIApp, Message


class ServedHTTP2:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.url = ""
        self.connections = 0
        self.streams = 0
        self.resets = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ssl_object = writer.get_extra_info("ssl_object")
        if ssl_object.selected_alpn_protocol() != "h2":
            writer.transport.abort()
            return
        self.connections += 1
        self.writers.add(writer)
        with contextlib.suppress(ConnectionError, ProtocolError, asyncio.CancelledError):
            await _Connection(self, reader, writer).run()
        self.writers.discard(writer)
        writer.transport.abort()


class _Connection:
    def __init__(self, served: ServedHTTP2, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served = served
        self._reader = reader
        self._writer = writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self._bodies: dict[int, asyncio.Queue[Message]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._window = asyncio.Event()

    async def run(self) -> None:
        self._h2.initiate_connection()
        self._flush()
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    self._on(event)
                self._flush()
        finally:
            for task in self._running.values():
                task.cancel()

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
                self._served.streams += 1
                self._bodies[stream] = asyncio.Queue()
                task = asyncio.get_running_loop().create_task(self._answer(stream, headers or []))
                self._running[stream] = task
                self._served.tasks.add(task)
                task.add_done_callback(self._served.tasks.discard)
            case h2.events.DataReceived(stream_id=int(stream), data=data):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                self._bodies[stream].put_nowait({"type": "http.request", "body": data, "more_body": True})
            case h2.events.StreamEnded(stream_id=int(stream)):
                self._bodies[stream].put_nowait({"type": "http.request", "body": b"", "more_body": False})
            case h2.events.StreamReset(stream_id=int(stream)):
                self._served.resets += 1
                self._bodies[stream].put_nowait({"type": "http.disconnect"})
            case h2.events.WindowUpdated():
                self._window.set()

    async def _answer(self, stream: int, headers: Any) -> None:
        fields = {bytes(k): bytes(v) for k, v in headers}
        path, _, query = fields[b":path"].partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "2", "scheme": "https",
            "method": fields[b":method"].decode(), "path": path.decode(), "raw_path": path, "query_string": query,
            "headers": [(b"host", fields.get(b":authority", b"")), *((k, v) for k, v in fields.items() if k[:1] != b":")],
            "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0), "state": {},
        }  # fmt: skip

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = (b":status", str(message["status"]).encode())
                self._h2.send_headers(stream, [status, *message.get("headers", ())])
            else:
                await self._send_body(stream, message.get("body", b""), end=not message.get("more_body", False))
            self._flush()

        with contextlib.suppress(StreamClosedError, ProtocolError):
            await self._served.app(scope, self._bodies[stream].get, send)

    async def _send_body(self, stream: int, body: bytes, *, end: bool) -> None:
        while body:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._window.clear()
                await self._window.wait()
                continue
            self._h2.send_data(stream, body[:room])
            body = body[room:]
            self._flush()
        if end:
            self._h2.end_stream(stream)

    def _flush(self) -> None:
        if not self._writer.is_closing() and (data := self._h2.data_to_send()):
            self._writer.write(data)


@contextlib.asynccontextmanager
async def served_http2(app: ASGIApp, certificate: Path, key: Path) -> AsyncIterator[ServedHTTP2]:
    """See the module. The app's lifespan is its owner's business."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    served = ServedHTTP2(app)
    server = await asyncio.start_server(served.accept, "127.0.0.1", 0, ssl=context)
    served.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        for task in list(served.tasks):
            task.cancel()
        if served.tasks:
            await asyncio.wait(served.tasks)
        for writer in list(served.writers):
            writer.transport.abort()
        await server.wait_closed()
