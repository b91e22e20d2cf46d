import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from support.waiting import Eventually

# Each HTTP client reads the authorities that it trusts, which takes 30 ms of the processor for the system's. All traffic of these
# tests is to this machine: an authority whose key nobody has will do.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parents[1] / "support" / "authority.pem")
os.environ.pop("SSL_CERT_DIR", None)

# How long an example takes says more about the machine than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def eventually() -> Eventually:
    """`await eventually(condition)`: returns as soon as it holds, fails when it does not within some seconds."""

    async def wait(condition: Callable[[], object], within: float = 30.0) -> None:
        async with asyncio.timeout(within):
            while True:  # conditions here are plain state, without an event to wait for
                holds = condition()
                if await holds if inspect.isawaitable(holds) else holds:
                    return
                await asyncio.sleep(0.002)

    return wait
