"""What answers a server that asks or tells something in the middle of a call from Python.

Names and forms are those of FastMCP's `Client`, so that a handler written for one works for the other.
"""

import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import SamplingCapability

from mcp_operator_proxy.library.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fastmcp.client.elicitation import ElicitationHandler
    from fastmcp.client.logging import LogHandler
    from fastmcp.client.roots import RootsHandler, RootsList
    from fastmcp.client.sampling import SamplingHandler

logger = logging.getLogger(__name__)
_LEVEL: Final = "debug"
"""A handler of log messages gets all of them, and may drop what it does not want."""

AtWork: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Entered while a handler answers."""


class HandlerOptions(TypedDict, total=False):
    """Arguments of `ToolProxy` and of `call_tool`: what a server may ask, and where it tells of itself."""

    elicitation_handler: "ElicitationHandler | None"
    sampling_handler: "SamplingHandler[Any, Any] | None"
    sampling_capabilities: SamplingCapability | None
    """What more than plain text the sampling handler can do: tools."""
    roots: "RootsList | RootsHandler[Any] | None"
    """The roots themselves, or a function that returns them."""
    log_handler: "LogHandler | None"
    progress_handler: ProgressFnT | None


@dataclass(frozen=True)
class Handlers:
    """`HandlerOptions` as a value. What is None is not declared to servers, and refused."""

    elicitation_handler: "ElicitationHandler | None" = None
    sampling_handler: "SamplingHandler[Any, Any] | None" = None
    sampling_capabilities: SamplingCapability | None = None
    roots: "RootsList | RootsHandler[Any] | None" = None
    log_handler: "LogHandler | None" = None
    progress_handler: ProgressFnT | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for roots that are none."""
        if isinstance(self.roots, list):
            from fastmcp.client.roots import convert_roots_list  # noqa: PLC0415 - a quarter of a second

            try:
                convert_roots_list(self.roots)
            except ValueError:
                raise ConfigError([Problem("roots", "must be file:// URIs")]) from None

    def over(self, others: "Handlers") -> "Handlers":
        """These, and of the others those that are missing here."""
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return replace(others, **given) if given else others

    def of_client_alone(self) -> "Handlers":
        """Without what each request has of its own."""
        return replace(self, progress_handler=None)

    @property
    def can_be_asked(self) -> bool:
        return not (self.elicitation_handler is None and self.sampling_handler is None and self.roots is None)

    def of_client(self, at_work: AtWork) -> dict[str, Any]:
        """The arguments of the SDK's `Client` that declare and serve them."""
        made: dict[str, Any] = {}
        if self.elicitation_handler is not None:
            from fastmcp.client.elicitation import create_elicitation_callback  # noqa: PLC0415

            elicit = _watched("elicitation_handler", self.elicitation_handler, at_work)
            made["elicitation_callback"] = create_elicitation_callback(elicit)
        if self.sampling_handler is not None:
            from fastmcp.client.sampling import create_sampling_callback  # noqa: PLC0415

            sample = _watched("sampling_handler", self.sampling_handler, at_work)
            made["sampling_callback"] = create_sampling_callback(sample)
            made["sampling_capabilities"] = self.sampling_capabilities
        if self.roots is not None:
            from fastmcp.client.roots import create_roots_callback  # noqa: PLC0415

            roots = self.roots if isinstance(self.roots, list) else _watched("roots", self.roots, at_work)
            made["list_roots_callback"] = create_roots_callback(roots)
        if self.log_handler is not None:
            made |= {"logging_callback": self.log_handler, "log_level": _LEVEL}
        return made


def _watched(name: str, handler: Callable[..., Any], at_work: AtWork) -> Callable[..., Any]:
    """The handler, whose exceptions say where they come from: the server gets their message, and the log the rest."""

    async def call(*args: Any) -> Any:
        try:
            with at_work():
                result = handler(*args)
                return await result if inspect.isawaitable(result) else result
        except Exception as error:
            logger.exception("%s failed", name)
            raise RuntimeError(f"{name} raised {type(error).__name__}: {error}") from error

    return call
