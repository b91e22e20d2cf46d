"""How often tokens were renewed, by provider: those of the configuration, and `server:` with the id of a server of its own issuer."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter


class CredentialMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.refreshes = Counter(
            "mcp_oauth_token_refreshes", "Tokens of users that were renewed.", ["provider"], registry=registry
        )
        self.failures = Counter(
            "mcp_oauth_token_refresh_failures",
            "Attempts to renew a user's token that failed.",
            ["provider"],
            registry=registry,
        )
        self._shown: frozenset[str] = frozenset()

    def use(self, providers: Iterable[str]) -> None:
        """These are configured: their series begin at 0, so that the first failure is seen as one, and end with them."""
        wanted = frozenset(providers)
        for family in (self.refreshes, self.failures):
            for provider in wanted:
                family.labels(provider)
            for provider in self._shown - wanted:
                family.remove(provider)
        self._shown = wanted
