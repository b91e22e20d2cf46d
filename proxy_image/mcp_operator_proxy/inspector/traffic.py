"""`traffic`: exchanges as they happen, each caller his own, operators all."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from mcp_operator_proxy.inspector.asking import Look
from mcp_operator_proxy.inspector.masking import shown
from mcp_operator_proxy.inspector.models import ExchangeItem, Leg, Traffic
from mcp_operator_proxy.inspector.own import caller_of, digest
from mcp_operator_proxy.inspector.rewrites import rewrites
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.recording import EVERYBODY, Body, Draft
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.problems import ProblemError
from mcp_operator_proxy.sessions.holder import Holder

router = APIRouter()
LOOK_SECONDS: Final = 1.0
"""Between two questions to siblings and replicas while somebody waits."""
BREATH_SECONDS: Final = 0.05
"""After something has come: more may come with it, and it may be of others."""
PAGE: Final = 200
"""Exchanges of one answer of one worker: the newest."""
PROCESSES: Final = 100
"""Of whom a cursor tells: what is gone falls out of it."""
PAGE_BYTES: Final = 2**20
"""Of what was kept of them; what is left is told when somebody asks on."""


@router.get("/traffic")
async def traffic(
    look: Look,
    after: Annotated[
        str, Query(max_length=4000, pattern=r"^([A-Za-z0-9_-]+\.[0-9]+(,[A-Za-z0-9_-]+\.[0-9]+)*)?$")
    ] = "",
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
) -> Traffic:
    """What came `after`; with `wait`, and nothing there, as soon as there is something, at most so many seconds later."""
    if not look.settings.traffic:
        raise ProblemError(problems.NOT_FOUND, "watching traffic is switched off")
    who = EVERYBODY if look.is_operator else look.caller_key
    if who is None:
        raise ProblemError(problems.FORBIDDEN, "nobody has exchanges of his own: sign in")
    loop = asyncio.get_running_loop()
    until, seen = loop.time() + wait, cursor_of(after)
    while True:
        found = await _gathered(look, who, seen)
        left = until - loop.time()
        if found.exchanges or left <= 0 or look.proxy.draining:
            return found
        seen = {**seen, **cursor_of(found.last)}
        await _something(look.proxy, min(left, LOOK_SECONDS))
        await asyncio.sleep(BREATH_SECONDS)


async def _gathered(look: Look, who: str, seen: Mapping[str, int]) -> Traffic:
    query = urlencode({"after": cursor(seen), "who": who})
    others = await look.proxy.services.siblings.ask_all(f"/inspector/traffic?{query}", Traffic)
    views = [await own(look.proxy, seen, who), *others]
    last = dict(seen)
    for view in views:
        last |= cursor_of(view.last)
    exchanges = sorted((one for view in views for one in view.exchanges), key=lambda one: (one.at, one.id))
    return Traffic(exchanges=exchanges, last=cursor(last))


async def _something(proxy: Proxy, seconds: float) -> None:
    """Until this worker has recorded something, at most so long."""
    recorder = proxy.services.inspector.recorder
    if recorder is None:
        await asyncio.sleep(min(seconds, LOOK_SECONDS))
        return
    try:
        async with asyncio.timeout(seconds):
            await recorder.more()
    except TimeoutError:
        pass


async def own(proxy: Proxy, seen: Mapping[str, int], who: str) -> Traffic:
    """What this worker has recorded for who watches; from now on it records.

    In a thread: to read and mask what was kept takes longer than a call may be held up.
    """
    instance = proxy.holder.instance
    recorder = proxy.services.inspector.watch(who)
    if recorder is None:
        return Traffic(exchanges=[], last=cursor({}))
    drafts = recorder.after(seen.get(instance, 0))
    mine = [one for one in drafts if who == EVERYBODY or (one.principal is not None and one.principal.key == who)]
    told = list(_page(mine[-PAGE:]))
    last = cursor({instance: recorder.last if told[-1:] == mine[-1:] else told[-1].number})
    if not told:
        return Traffic(exchanges=[], last=last)
    items = await asyncio.to_thread(lambda: [item(proxy.holder, one) for one in told])
    return Traffic(exchanges=items, last=last)


def _page(drafts: Sequence[Draft]) -> Iterator[Draft]:
    """The first of them, one at least."""
    size = 0
    for draft in drafts:
        if size and size + draft.size > PAGE_BYTES:
            return
        size += draft.size
        yield draft


def item(holder: Holder, draft: Draft) -> ExchangeItem:
    """An exchange as it is shown; what it means is found out only now."""
    secrets = draft.secrets
    sent, told = _side(draft.sent, secrets), _side(draft.told, secrets)
    asked, answered = _side(draft.asked, secrets), _side(draft.answered, secrets)
    client = Leg(request=sent[0], response=told[0], truncated=sent[1] or told[1])
    backend = None
    if draft.asked is not None:
        backend = Leg(request=asked[0], response=answered[0], truncated=asked[1] or answered[1])
    return ExchangeItem(
        id=f"{holder.instance}.{draft.number}",
        at=datetime.fromtimestamp(draft.at, UTC),
        route=draft.route,
        caller=caller_of(draft.principal),
        session=digest(draft.session) if draft.session is not None else None,
        server=draft.server,
        method=draft.method,
        name=draft.name,
        outcome=draft.outcome,
        milliseconds=round(draft.seconds * 1000, 3),
        lane=draft.lane,
        worker=holder.number,
        client=client,
        backend=backend,
        rewritten=rewrites((sent[0], told[0]), (asked[0], answered[0])) if backend is not None else [],
    )


def _side(body: Body | None, secrets: Collection[str]) -> tuple[object, bool]:
    return (None, False) if body is None else shown(body.messages(), body.size, secrets)


def cursor(seen: Mapping[str, int]) -> str:
    """Numbers of the newest exchanges, by process; of many the newest, as numbers begin with a process's time."""
    newest = sorted(seen.items(), key=itemgetter(1), reverse=True)[:PROCESSES]
    return ",".join(f"{instance}.{number}" for instance, number in sorted(newest))


def cursor_of(text: str) -> dict[str, int]:
    return {instance: int(number) for instance, _, number in (part.partition(".") for part in text.split(",") if part)}
