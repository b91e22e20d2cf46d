"""The plain way of a probe: prepared bytes instead of the client library's session, at a tenth of its cost.

It matters where thousands of servers are probed. Whatever is not plainly as expected is left to the library's session, which
knows what it means.
"""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from typing import Final

from mcp_operator.probe.bounded import MAX_BYTES
from mcp_operator.probe.target import Target
from mcp_operator_proxy.backends.catalogue import Catalogue, list_catalogue
from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.lean.exchange import OverBudget
from mcp_operator_proxy.backends.lean.session import LeanSession
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.swap.pace import Turns

CLOSE_SECONDS: Final = 1.0
SENDABLE: Final = re.compile(r"[\t\x20-\x7e]*")
"""What a header's value may hold (RFC 9110, section 5.5)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A server that negotiated and listed what it has, and when it was done (`time.monotonic`)."""

    session: LeanSession
    catalogue: Catalogue
    ended: float


async def look(target: Target) -> Listed | ErrorReport | None:
    """Connect, negotiate, list (where `target.lists`), end the session, all within `target.timeout` but for the end.

    None where the library's session is to ask.
    """
    to_connect = target.to_connect()
    unverified = not target.verify and target.url.startswith("https:")
    sendable = all(map(SENDABLE.fullmatch, target.headers.values()))
    if unverified or not sendable or not LeanSession.suits(to_connect):
        return None
    try:
        session = LeanSession(
            to_connect, None, turns=Turns(), on_change=_nothing, on_stream_end=_nothing, budget=MAX_BYTES
        )
    except ValueError:  # of the URL
        return None
    try:
        async with asyncio.timeout(target.timeout):
            await session.open()
            catalogue = await list_catalogue(session) if target.lists else Catalogue()
        return Listed(session, catalogue, time.monotonic())
    except TimeoutError as error:
        return classify(error, secrets=to_connect.secrets)
    except BackendError as error:
        return error.report
    except OverBudget:
        return ErrorReport(
            error_class="ProtocolError",
            message=f"the server's answers are larger than {MAX_BYTES // 2**20} MiB, more than a probe takes in",
        )
    except Exception:  # noqa: BLE001 - whatever it is, the library's session meets it too
        return None
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await session.close()


def _nothing() -> None:
    """A probe is too short to hear of changes."""
