"""An HTTP proxy on loopback (RFC 9110, section 7.6; CONNECT, section 9.3.6) behind which addresses of pods are programs of the test.

with forwarding({"10.200.0.1:8081": operator.port}) as (url, asked):
    ...                                  # asked: what came, such as Forwarded("GET", "10.200.0.1:8081", "/metrics", {...})
"""

import http.client
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SECONDS = 10.0


@dataclass(frozen=True)
class Forwarded:
    """A request. Of a tunnel (CONNECT) only the address is seen. Names of headers are in lower case."""

    method: str
    address: str
    path: str
    headers: Mapping[str, str]


@contextmanager
def forwarding(ports: Mapping[str, int]) -> Iterator[tuple[str, list[Forwarded]]]:
    """Its URL, and what was asked of it. An address that is not in `ports` (of this machine) is answered with 502."""
    asked: list[Forwarded] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _note(self, address: str, path: str) -> int | None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Forwarded(self.command, address, path, headers))
            return ports.get(address)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            port = self._note(url.netloc, url.path)
            if port is None:
                self.send_error(502)
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            try:
                connection.request("GET", url.path, headers=dict(self.headers.items()))
                answer = connection.getresponse()
                body = answer.read()
            except OSError:
                self.send_error(502)
                return
            finally:
                connection.close()
            self.send_response(answer.status)
            kept = {"content-type", "content-encoding", "www-authenticate"}
            for name, value in answer.getheaders():
                if name.lower() in kept:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_CONNECT(self) -> None:
            port = self._note(self.path, "")
            try:
                upstream = socket.create_connection(("127.0.0.1", port), SECONDS) if port else None
            except OSError:
                upstream = None
            if upstream is None:
                self.send_error(502)
                return
            with upstream:
                self.send_response(200)
                self.end_headers()
                _relay(self.connection, upstream)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Until either side ends."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(one, selectors.EVENT_READ, other)
        waiting.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in waiting.select():
                try:
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)
                except OSError:
                    return
