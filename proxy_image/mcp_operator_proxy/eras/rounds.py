"""A modern server asks a legacy client: the questions in its result go to the client as requests over its session, and
the call is sent again with the answers (SEP-2322), until a result comes that asks nothing.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, ErrorData
from mcp_types.methods import is_input_required

from mcp_operator_proxy.eras import translate

MAX_ROUNDS: Final = 32
"""Rounds with questions; a server that asks more often is taken to ask for ever."""
POLL_FIRST: Final = 0.05
POLL_MOST: Final = 1.0
"""Seconds between calls of a server that asks nothing and wants to be called again."""

Json: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Json], Awaitable[Json]]
"""Sends the call again with these further params, and returns its result."""
Ask: TypeAlias = Callable[[str, Json], Awaitable[Json | ErrorData]]
"""Asks the client: method and params, its answer or its error."""
Done: TypeAlias = Callable[[str], Awaitable[None]]
"""Told of the elicitation ids (url mode) whose server does not ask for them any more."""


async def drive(
    first: Json, *, send: Send, ask: Ask, done: Done, capabilities: Mapping[str, Any], seconds: float
) -> Json:
    """The result in the end. A server that only wants to be called again is called for at most `seconds`.

    Raises:
        MCPError: the client refused to answer, or cannot; or the server asks without end.
    """
    loop = asyncio.get_running_loop()
    result, rounds, pause, until = first, 0, POLL_FIRST, loop.time() + seconds
    waited_for: dict[str, str] = {}
    while is_input_required(result):
        questions = result.get("inputRequests") or {}
        more: Json = {"requestState": result["requestState"]} if result.get("requestState") is not None else {}
        if questions:
            rounds, pause = rounds + 1, POLL_FIRST
            if rounds > MAX_ROUNDS:
                raise MCPError(INTERNAL_ERROR, f"the server asked its client {MAX_ROUNDS} times in one call")
            ids = {str(q["params"]["url"]): str(uuid.uuid4()) for q in questions.values() if _leads_to_url(q)}
            more["inputResponses"] = await _answers(questions, ids, ask, capabilities)
            until = loop.time() + seconds
        else:
            if loop.time() >= until:
                raise MCPError(INTERNAL_ERROR, f"the server did not end the call within {seconds:g} s")
            await asyncio.sleep(pause)
            pause, ids = min(pause * 2, POLL_MOST), {}
        waited_for |= ids
        result = await send(more)
        again = (result.get("inputRequests") or {}).values() if is_input_required(result) else ()
        still = {str(q["params"]["url"]) for q in again if _leads_to_url(q)}
        if is_input_required(result) and not again:
            still = set(waited_for)  # it polls: nothing is known yet
        for url in [url for url in waited_for if url not in still]:
            await done(waited_for.pop(url))
    return result


def _leads_to_url(question: Any) -> bool:
    params = question.get("params") or {}
    return question.get("method") == "elicitation/create" and params.get("mode") == "url" and "url" in params


async def _answers(
    questions: Mapping[str, Any], ids: Mapping[str, str], ask: Ask, capabilities: Mapping[str, Any]
) -> Json:
    """Ask all at once. Of several errors one counts, and the other questions are taken back."""
    for question in questions.values():
        refused = translate.refusal(question.get("method", ""), question.get("params"), capabilities)
        if refused is not None:
            raise MCPError(INVALID_REQUEST, f"the server needs what this call's client cannot do: {refused['message']}")

    async def one(question: Json) -> Json:
        url = str((question.get("params") or {}).get("url", ""))
        wire = translate.question_for_legacy(question, ids.get(url, ""))
        answer = await ask(wire["method"], wire.get("params") or {})
        if isinstance(answer, ErrorData):
            raise MCPError.from_error_data(answer)
        return answer

    try:
        async with asyncio.TaskGroup() as group:
            asked = {key: group.create_task(one(question)) for key, question in questions.items()}
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return {key: task.result() for key, task in asked.items()}
