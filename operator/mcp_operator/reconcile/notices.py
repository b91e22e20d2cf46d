"""The notices of all proxies, for the servers that they concern."""

from collections.abc import Callable, Iterable
from operator import itemgetter

from mcp_operator.api import meta
from mcp_operator.conditions.notices import Notices, noted
from mcp_operator.conditions.verdict import Verdict
from mcp_operator.engine.keys import Key


class NoticeBoard:
    """Remembers what each proxy had to tell. `proxies_of` gives those that there are in which a server has a say.

    What a server's status says stands until each of these has been looked at, and heard: else each start of the operator would
    take it away and put it back. Other proxies hold nobody up: there may always be one that can't be looked at.
    """

    def __init__(self, proxies_of: Callable[[Key], Iterable[Key]]) -> None:
        self._proxies_of = proxies_of
        self._notices: dict[Key, Notices] = {}
        self._unheard: set[Key] = set()
        self._waiting: set[Key] = set()

    def note(self, proxy: Key, notices: Notices, *, heard: bool) -> set[Key]:
        """Take what `proxy` has to tell; the servers to look at again. `heard`: its replicas have said what they see."""
        before = self._notices.get(proxy, Notices())
        self._notices[proxy] = notices
        (self._unheard.discard if heard else self._unheard.add)(proxy)
        concerned = before.servers.keys() | notices.servers.keys()
        return self._look_again(
            {_key(server) for server in concerned if before.servers.get(server) != notices.servers.get(server)}
        )

    def forget(self, proxy: Key) -> set[Key]:
        """The proxy is gone; the servers to look at again."""
        before = self._notices.pop(proxy, Notices())
        self._unheard.discard(proxy)
        return self._look_again({_key(server) for server in before.servers})

    def of_proxy(self, proxy: Key) -> Notices:
        return self._notices.get(proxy, Notices())

    def of_server(self, server: Key, before: list[Verdict]) -> list[Verdict]:
        """What its status is to say of it. `before`: what it says now."""
        if before and not self._settled(server):
            self._waiting.add(server)
            return before
        about = f"{server.namespace}/{server.name}"
        return noted(
            notice
            for _, told in sorted(self._notices.items(), key=itemgetter(0))
            for notice in told.servers.get(about, ())
        )

    def _settled(self, server: Key) -> bool:
        return all(proxy in self._notices and proxy not in self._unheard for proxy in self._proxies_of(server))

    def _look_again(self, servers: set[Key]) -> set[Key]:
        """With those that waited, when that is over."""
        settled = {server for server in self._waiting if self._settled(server)}
        self._waiting -= settled
        return servers | settled


def _key(server: str) -> Key:
    namespace, _, name = server.partition("/")
    return Key(meta.SERVER.kind, namespace, name)
