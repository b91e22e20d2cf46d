"""How often tokens were renewed, by provider: those of the configuration, and `server:` with the id of a server of its own issuer."""

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
