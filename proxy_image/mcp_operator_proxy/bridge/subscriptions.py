"""Who is subscribed to which resource, so that the server is asked once for each URI (pure)."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Subscriber = TypeVar("Subscriber", bound=Hashable)


@dataclass(slots=True)
class Subscriptions(Generic[Subscriber]):
    _by_uri: dict[str, set[Subscriber]] = field(default_factory=dict)

    def __contains__(self, uri: str) -> bool:
        return uri in self._by_uri

    def uris(self) -> list[str]:
        return list(self._by_uri)

    def add(self, uri: str, subscriber: Subscriber) -> None:
        self._by_uri.setdefault(uri, set()).add(subscriber)

    def remove(self, uri: str, subscriber: Subscriber) -> bool:
        """True when nobody is left, so that the server is to be told."""
        subscribers = self._by_uri.get(uri)
        if subscribers is None:
            return False
        subscribers.discard(subscriber)
        if subscribers:
            return False
        del self._by_uri[uri]
        return True

    def uris_of(self, subscriber: Subscriber) -> list[str]:
        return [uri for uri, subscribers in self._by_uri.items() if subscriber in subscribers]

    def interested(self, uri: str) -> set[Subscriber]:
        """Subscribers of `uri` or of a resource that it is a part of (an update may name a sub-resource)."""
        return {
            subscriber
            for subscribed, subscribers in self._by_uri.items()
            if uri == subscribed or uri.startswith(subscribed.rstrip("/") + "/")
            for subscriber in subscribers
        }
