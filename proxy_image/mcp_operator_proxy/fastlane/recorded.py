"""Exchanges of the lane that somebody watches: the same, with a copy of the bytes that go by."""

import time
from typing import TYPE_CHECKING, Any

from mcp_operator_proxy.fastlane.exchange import EVENTS, JSON, Exchange
from mcp_operator_proxy.fastlane.rewrite import Request
from mcp_operator_proxy.fastlane.sink import Sink
from mcp_operator_proxy.recording import Body, Draft, Recorder

if TYPE_CHECKING:
    from mcp_operator_proxy.fastlane.call import Head


class RecordingSink:
    """In front of the client's. Whatever is handed over to the full path is recorded there."""

    def __init__(self, recorder: Recorder, head: "Head", body: bytes, sink: Sink) -> None:
        session = head.session_id.decode("latin-1") or None
        self.draft = Draft(head.route.path, head.principal, session, body)
        self.draft.lane = True
        self._recorder, self._sink = recorder, sink

    def observed(self, request: Request, outcome: str, seconds: float, server: str | None) -> None:
        """How the request has ended, before the client is told."""
        draft = self.draft
        draft.method, draft.name, draft.outcome, draft.server = request.method, request.name or None, outcome, server
        draft.seconds = seconds

    def gone(self) -> None:
        """The client has; it gets nothing."""
        self._keep()

    # Sink

    def answer(self, status: int, body: bytes, session: bytes | None) -> None:
        self.draft.told.add(body)
        self._keep()
        self._sink.answer(status, body, session)

    def open(self, content_type: bytes, session: bytes | None) -> None:
        self.draft.told.is_stream = content_type == EVENTS
        self._sink.open(content_type, session)

    def write(self, data: bytes) -> None:
        self.draft.told.add(data)
        self._sink.write(data)

    def close(self) -> None:
        self._keep()
        self._sink.close()

    def broken(self) -> None:
        self._keep()
        self._sink.broken()

    def hand_over(self, scope: dict[str, Any]) -> None:
        self._sink.hand_over(scope)

    def _keep(self) -> None:
        self.draft.seconds = self.draft.seconds or time.perf_counter() - self.draft.began
        self._recorder.keep(self.draft)


class RecordedExchange(Exchange):
    """One whose sink is a `RecordingSink`."""

    __slots__ = ()

    def start(self) -> None:
        draft = self._draft
        draft.asked = Body(self.outgoing.partition(b"\r\n\r\n")[2])
        draft.answered = Body()
        draft.secrets += self.hot.upstream.backend.secrets()
        super().start()

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        answered = self._draft.answered
        if answered is not None:
            kind = headers.get(b"content-type", JSON)
            answered.is_stream = kind.partition(b";")[0].strip().lower() == EVENTS
        super().headed(status, headers)

    def received(self, chunk: bytes) -> None:
        draft = self._draft
        if draft.answered is not None and not draft.number:
            draft.answered.add(chunk)
        super().received(chunk)

    def client_gone(self) -> None:
        was_done = self.done
        super().client_gone()
        if not was_done:
            self._recording.gone()

    @property
    def _recording(self) -> RecordingSink:
        assert isinstance(self.sink, RecordingSink)
        return self.sink

    @property
    def _draft(self) -> Draft:
        return self._recording.draft
