"""Functions of this process as tools of a proxy: the part of `ToolProxy` that adds and removes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from fastmcp.tools import Tool as FastMCPTool

from mcp_operator_proxy.library.local import LocalServer

F = TypeVar("F", bound=Callable[..., Any])


class WithLocalTools(ABC):
    """What has local tools; it is told when they have changed."""

    _local: LocalServer

    @abstractmethod
    def _local_changed(self) -> None: ...

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(self, name: str | None = None, /, **options: Any) -> Callable[[F], F]: ...

    def tool(self, name_or_function: Any = None, /, **options: Any) -> Any:
        """Decorator: a function of this process as a tool, shown under its own name beside the proxied ones.

        `options` are those of FastMCP's `Tool.from_function`: `name`, `title`, `description`, `tags`, `annotations`, …
        """
        if callable(name_or_function):
            self.add_tool(name_or_function)
            return name_or_function

        def decorate(function: F) -> F:
            named = {"name": name_or_function} if name_or_function is not None else {}
            self.add_tool(function, **{**named, **options})
            return function

        return decorate

    def add_tool(self, function: "Callable[..., Any] | FastMCPTool", **options: Any) -> str:
        """Add a local tool, or replace the one of the same name; returns its name."""
        tool = self._local.add(function, **options)
        self._local_changed()
        return tool.name

    def remove_tool(self, name: str) -> None:
        """Remove a local tool. Raises KeyError."""
        if not self._local.remove(name):
            raise KeyError(f"there is no local tool {name}")
        self._local_changed()

    def replace_tools(self, functions: "Iterable[Callable[..., Any] | FastMCPTool]") -> list[str]:
        """Have these local tools and no others; returns their names."""
        names = [self.add_tool(function) for function in functions]
        for name in self._local.names - set(names):
            self.remove_tool(name)
        return names
