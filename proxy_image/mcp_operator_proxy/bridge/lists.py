"""The last good lists of a server, so that one that rests need not be started to be asked for them (pure)."""

from dataclasses import dataclass, field
from typing import Final

from mcp_operator_proxy.bridge.jsonrpc import Message, params_of

_CHANGES: Final = {
    "tools/list": "notifications/tools/list_changed",
    "prompts/list": "notifications/prompts/list_changed",
    "resources/list": "notifications/resources/list_changed",
    "resources/templates/list": "notifications/resources/list_changed",
}
_PAGES: Final = 1000
"""Pages that are kept at most; a cursor is whatever the caller says."""


@dataclass(slots=True)
class KnownLists:
    _pages: dict[tuple[str, str], Message] = field(default_factory=dict)

    @staticmethod
    def concerns(request: Message) -> bool:
        return request["method"] in _CHANGES

    def get(self, request: Message) -> Message | None:
        """The result that this request had last."""
        return self._pages.get(_key(request))

    def keep(self, request: Message, result: object) -> None:
        if isinstance(result, dict) and (_key(request) in self._pages or len(self._pages) < _PAGES):
            self._pages[_key(request)] = result

    def changed(self, notification: Message) -> None:
        """Forget what a `list_changed` of the server makes untrue."""
        for key in [key for key in self._pages if _CHANGES[key[0]] == notification["method"]]:
            del self._pages[key]

    def forget(self) -> None:
        self._pages.clear()


def _key(request: Message) -> tuple[str, str]:
    return request["method"], str(params_of(request).get("cursor", ""))
