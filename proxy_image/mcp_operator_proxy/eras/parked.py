"""A legacy server asks a modern client in the middle of a call: the call waits, parked, until the client comes back.

A server of the handshake eras sends its question as a request and waits for the answer with its call still running. A client
of 2026-07-28 is asked by the result of its request and sends the request again with the answers (SEP-2322). So here the call
goes on in a task of its own. When it asks, the client gets `input_required` and a `requestState`; when that state comes back
with answers, they go to the server, and the client's request waits for the next question or the result.

- A state is for one caller, route, tool and arguments, for one round, and for `PARK_SECONDS`. Then the server is told that
  nobody answered, and its call is cancelled. While a call is parked, its own time stands still.
- Log messages of a parked call are kept, the newest `MAX_NOTES`, and come with the next leg. So does its progress.
- The call is lost with its process: its state is then answered by an error that says to call again.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal, TypeAlias, get_args

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, ErrorData
from mcp_types.methods import validate_client_result
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.gate import Gate
from mcp_operator_proxy.backends.session import Call
from mcp_operator_proxy.eras import translate
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.eras.states import Claims, States
from mcp_operator_proxy.tasks import cancel, spawn

logger = logging.getLogger(__name__)
PARK_SECONDS: Final = 300.0
MAX_PARKED: Final = 1024
"""Calls of one route that have asked and not ended; one more question is refused."""
MAX_PARKED_OF_CALLER: Final = 64
"""The same for one authenticated caller."""
MAX_NOTES: Final = 64
GATHER_SECONDS: Final = 0.02
"""Questions that come together go to the client together; one that comes later than this is for the next round."""

Json: TypeAlias = dict[str, Any]
Note: TypeAlias = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True)
class Leg:
    """One request of the client: the first, or one that goes on."""

    front: Any
    """Its context: where log messages and progress go."""
    principal: Principal | None
    binding: str
    capabilities: Capabilities
    params: Mapping[str, Any]


Outcome: TypeAlias = Literal["answered", "expired", "cancelled"]
"""Of a call that was parked: its client came back and got its result, did not come back in time, or has gone."""


@dataclass(frozen=True)
class ParkReport:
    """What a parking lot says of itself. All but `calls` only grow."""

    calls: int
    """Those that have asked and not ended."""
    ended: Mapping[Outcome, int]
    refused: int
    """Questions for which there was no room."""


@dataclass(frozen=True)
class _Question:
    wire: Json
    answer: "asyncio.Future[Json | ErrorData]"


class ParkedCall(Call):
    """A call that may be parked. Its `front` is the leg that waits for it at the moment, or None."""

    def __init__(self, lot: "ParkingLot", leg: Leg, seconds: float, gate: Gate | None) -> None:
        super().__init__(None, seconds, gate=gate)
        self.id = secrets.token_urlsafe(12)
        self.principal = leg.principal
        self.binding = leg.binding
        self.capabilities = leg.capabilities
        self.passed = gate
        self.round = 0
        self.questions: dict[str, _Question] = {}
        self.task: asyncio.Task[Json]
        self.news = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        self._lot = lot
        self._notes: deque[Note] = deque(maxlen=MAX_NOTES)
        self._numbers = count(1)

    async def ask(self, method: str, params: Json) -> Json | ErrorData:
        """Put a question of the server to the client; returns its answer, however long that takes."""
        refused = translate.refusal(method, params, self.capabilities.as_dict()) or self._lot.take(self)
        if refused is not None:
            return ErrorData(**refused)
        key = f"{method.partition('/')[0]}-{next(self._numbers)}"
        answer: asyncio.Future[Json | ErrorData] = asyncio.get_running_loop().create_future()
        self.questions[key] = _Question(translate.question_for_modern(method, params), answer)
        self.news.set()
        try:
            with self.asking():
                return await answer
        finally:  # answered, or taken back by the server
            self.questions.pop(key, None)

    def answer(self, key: str, answer: Json | ErrorData) -> None:
        question = self.questions.pop(key, None)
        if question is not None and not question.answer.done():
            question.answer.set_result(answer)

    async def tell(self, note: Note) -> None:
        if self.front is not None:
            await note(self.front)
        else:
            self._notes.append(note)

    @property
    def held(self) -> int:
        """Messages that wait for the next leg."""
        return len(self._notes)

    async def turn(self, leg: Leg) -> None:
        """Be the leg's until the call has ended or asks."""
        try:
            while self._notes:
                await self._notes.popleft()(leg.front)
            self.front, self.capabilities = leg.front, leg.capabilities
            while not self.task.done():
                if self.questions:
                    await asyncio.wait([self.task], timeout=GATHER_SECONDS)
                if self.questions or self.task.done():
                    return
                self.news.clear()
                await self.news.wait()
        finally:
            self.front = None


class ParkingLot:
    """The parked calls of one route. `here` names this process: its instance, and the address of its internal listener."""

    def __init__(
        self,
        states: States,
        here: Callable[[], tuple[str, str]],
        *,
        park_seconds: float = PARK_SECONDS,
        most: int = MAX_PARKED,
        most_of_caller: int = MAX_PARKED_OF_CALLER,
    ) -> None:
        self._states = states
        self._here = here
        self.park_seconds = park_seconds
        self.most, self.most_of_caller = most, most_of_caller
        self._taken: dict[str, ParkedCall] = {}
        self._of_caller: Counter[str] = Counter()
        self._ended: Counter[Outcome] = Counter()
        self._refused = 0
        self._tasks: set[asyncio.Task[Json]] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def calls(self) -> list[ParkedCall]:
        """Those that have asked and not ended."""
        return list(self._taken.values())

    def report(self) -> ParkReport:
        ended: dict[Outcome, int] = {outcome: self._ended[outcome] for outcome in get_args(Outcome)}
        return ParkReport(len(self._taken), ended, self._refused)

    # Legs

    async def begin(
        self, leg: Leg, seconds: float, gate: Gate | None, work: Callable[[ParkedCall], Awaitable[Json]]
    ) -> Json:
        """Run `work` and return its result, or the `input_required` result by which it asks. Raises what it raises."""
        call = ParkedCall(self, leg, seconds, gate)
        call.task = spawn(_run(work, call), self._tasks)
        call.task.add_done_callback(lambda _: call.news.set())
        call.task.add_done_callback(_retrieve)  # it may end while nobody waits for it
        return await self._leg(call, leg)

    async def resume(self, leg: Leg, claims: Claims) -> Json:
        """Go on with the call that a state names.

        Raises:
            MCPError: the call is not here any more, or an answer is malformed; or what the call itself raises.
            BackendError: of the call.
        """
        call = self._taken.get(claims.call)
        if call is None or call.timer is None or (call.round, call.binding) != (claims.round, leg.binding):
            raise MCPError(INVALID_PARAMS, LOST, REASON)
        answers = _answers(call, leg.params.get("inputResponses"))
        call.timer.cancel()
        call.timer = None
        for key, answer in answers.items():
            call.answer(key, answer)
        return await self._leg(call, leg)

    async def _leg(self, call: ParkedCall, leg: Leg) -> Json:
        try:
            await call.turn(leg)
        except BaseException:  # the client went away: so it cancels its call
            self._end(call, "cancelled")
            raise
        if not call.task.done():
            return self._park(call)
        self._leave(call, "answered")
        if call.task.cancelled():
            raise MCPError(INTERNAL_ERROR, "the call was cancelled: the proxy is going away")
        return call.task.result()

    def _park(self, call: ParkedCall) -> Json:
        call.round += 1
        call.timer = asyncio.get_running_loop().call_later(self.park_seconds, self._expire, call)
        instance, owner = self._here()
        expires = time.time() + self.park_seconds
        state = self._states.seal(Claims(call.binding, expires, call.id, call.round, instance, owner))
        asked = {key: question.wire for key, question in call.questions.items()}
        return {"resultType": "input_required", "inputRequests": asked, "requestState": state}

    def ask_anew(self, leg: Leg, questions: Mapping[str, Json]) -> Json:
        """Ask, and have the request sent anew afterwards: nothing waits meanwhile."""
        state = self._states.seal(Claims(leg.binding, time.time() + self.park_seconds))
        return {"resultType": "input_required", "inputRequests": dict(questions), "requestState": state}

    def claims(self, leg: Leg) -> Claims | None:
        """What the state of a request says, verified; None where it has none. Raises MCPError where it is not its state."""
        state = leg.params.get("requestState")
        if state is None:
            return None
        claims = self._states.open(state, time.time())
        if claims is None or not secrets.compare_digest(claims.binding, leg.binding):
            raise MCPError(INVALID_PARAMS, INVALID, REASON)
        return claims

    def wrapped(self, leg: Leg, result: Json) -> Json:
        """A server's result; its state, where it asks, is sealed for this client and request."""
        return self._states.wrapped(result, leg.binding)

    def elsewhere(self, params: Mapping[str, Any]) -> Claims | None:
        """Where another process holds the call of this request: what its state says, with `instance` and `owner`."""
        claims = self._states.open(params.get("requestState"), time.time())
        return claims if claims is not None and claims.owner and claims.instance != self._here()[0] else None

    async def end_calls(self, gate: Gate) -> None:
        """Cancel the parked calls that passed this gate: its server is going away."""
        ended = [call for call in self.calls() if call.passed is gate]
        for call in ended:
            self._end(call, "cancelled")
        await cancel(call.task for call in ended)

    # The room

    def take(self, call: ParkedCall) -> Json | None:
        """Note that a call has asked; the error for its server where there is no room."""
        if call.id in self._taken:
            return None
        name = call.principal.key if call.principal else None
        if len(self._taken) >= self.most or (name is not None and self._of_caller[name] >= self.most_of_caller):
            self._refused += 1
            return {"code": INTERNAL_ERROR, "message": "the proxy has too many calls that wait for their clients"}
        self._taken[call.id] = call
        if name is not None:
            self._of_caller[name] += 1
        return None

    def _leave(self, call: ParkedCall, outcome: Outcome) -> None:
        if self._taken.pop(call.id, None) is None:
            return
        self._ended[outcome] += 1
        if call.principal is not None:
            self._of_caller[call.principal.key] -= 1
            if not self._of_caller[call.principal.key]:
                del self._of_caller[call.principal.key]

    def _expire(self, call: ParkedCall) -> None:
        logger.info("a call waited in vain for its client", extra={"asked": call.round})
        self._end(call, "expired")

    def _end(self, call: ParkedCall, outcome: Outcome) -> None:
        """Tell the server that nobody answers, and cancel its call."""
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        self._leave(call, outcome)
        for key in list(call.questions):
            call.answer(key, ErrorData(code=INTERNAL_ERROR, message="the client did not answer"))
        call.task.cancel()

    async def close(self) -> None:
        for call in self.calls():
            self._end(call, "cancelled")
        await cancel(self._tasks)


INVALID: Final = "this requestState does not belong to this request, or is too old; call again without it"
LOST: Final = (
    "the call that this requestState belongs to does not wait here: it was answered already, waited too long, or was "
    "lost with its proxy; call again without requestState"
)
REASON: Final = {"reason": "invalid_request_state"}


async def _run(work: Callable[[ParkedCall], Awaitable[Json]], call: ParkedCall) -> Json:
    return await work(call)


def _retrieve(task: "asyncio.Task[Json]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()


def _answers(call: ParkedCall, responses: Any) -> dict[str, Json]:
    """Those of the responses that answer an open question; the others are ignored, as the spec says. Raises MCPError."""
    answers: dict[str, Json] = {}
    for key, answer in responses.items() if isinstance(responses, Mapping) else ():
        if (question := call.questions.get(key)) is None:
            continue
        try:
            validate_client_result(question.wire["method"], LATEST_HANDSHAKE_VERSION, answer)
        except ValidationError as error:
            method = question.wire["method"]
            raise MCPError(INVALID_PARAMS, f"inputResponses[{key!r}] is no answer to {method}") from error
        answers[key] = answer
    return answers


def all_accepted(params: Mapping[str, Any]) -> None:
    """Raises MCPError where a url elicitation was not accepted."""
    responses = params.get("inputResponses")
    for answer in responses.values() if isinstance(responses, Mapping) else ():
        action = answer.get("action") if isinstance(answer, Mapping) else None
        if action != "accept":
            raise MCPError(INVALID_PARAMS, "the server needs an elicitation that was not accepted")
