"""What is proxied: as the config says, until somebody switches it at run time."""

from dataclasses import dataclass, field, replace

from mcp_operator_proxy.library.document import Document


@dataclass(frozen=True)
class Switches:
    """`proxying` is for all servers, `of` for those that were switched by themselves. Immutable."""

    proxying: bool = True
    of: dict[str, bool] = field(default_factory=dict)

    def switched(self, server: str | None, *, on: bool) -> "Switches":
        if server is None:
            return replace(self, proxying=on)
        return replace(self, of={**self.of, server: on})

    def is_on(self, document: Document, server: str) -> bool:
        return self.proxying and self.of.get(server, document.servers[server].on)

    def served(self, document: Document) -> set[str]:
        return {server for server in document.servers if self.is_on(document, server)}

    def after(self, old: Document, new: Document) -> "Switches":
        """What a config says anew about a server counts more than what was switched at run time."""
        proxying = self.proxying if old.proxy.enabled == new.proxy.enabled else new.proxy.enabled
        kept = {
            server: on
            for server, on in self.of.items()
            if server in old.servers and server in new.servers and old.servers[server].on == new.servers[server].on
        }
        return Switches(proxying, kept)
