"""All that a configuration needs before it can be in use, made in one place and refused as a whole. Pure but for its time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_operator_proxy.auth import Authenticator
from mcp_operator_proxy.authz.settings import policy_of
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.certificate import Certificate
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.policy import ALLOW_ALL, Policy
from mcp_operator_proxy.registry.settings import SearchSettings, search_settings
from mcp_operator_proxy.services.credentials.settings import CredentialSettings, credential_settings
from mcp_operator_proxy.services.notices import Webhook, webhook
from mcp_operator_proxy.services.rest.settings import check_rest
from mcp_operator_proxy.services.settings import StoreSettings, store_settings
from mcp_operator_proxy.sessions.ids import Keys
from mcp_operator_proxy.swap.validate import authenticator, resolve, signing_keys
from mcp_operator_proxy.tls import Certificates
from mcp_operator_proxy.tracing.settings import TracingSettings, tracing_settings


@dataclass(frozen=True)
class Prepared:
    """What was made of a configuration and its secrets."""

    config: ProxyConfig
    secrets: Mapping[str, str] = field(repr=False)
    resolved: Mapping[str, ResolvedServer]
    authenticator: Authenticator | None
    """None: everybody may call."""
    signing_keys: Keys | None
    """None: the process makes them."""
    certificate: Certificate | None
    stores: StoreSettings
    credentials: CredentialSettings
    search: SearchSettings
    webhook: Webhook | None = None
    """Where notices go."""
    tracing: TracingSettings | None = None
    """Where traces go."""
    policy: Policy = ALLOW_ALL

    @property
    def personal(self) -> Mapping[str, ResolvedServer]:
        """The servers of which each user has an instance of its own."""
        return {key: resolved for key, resolved in self.resolved.items() if resolved.server.of_users}

    def personal_on(self) -> Mapping[str, tuple[str, ...]]:
        """Their ids, by the paths of the routes that have some."""
        personal = self.personal
        found = {
            route.path: tuple(entry.server for entry in route.servers if entry.server in personal)
            for route in self.config.routes
        }
        return {path: servers for path, servers in found.items() if servers}


def prepare(
    config: ProxyConfig, secrets: Mapping[str, str], certificates: Certificates | None, egress: Egress | None = None
) -> Prepared:
    """Make it. `certificates` are those of a listener with TLS; `egress` is the process's rule for connections.

    Raises:
        SecretMissing: a secret file is not there, or not yet.
        ConfigRejected: something cannot be used.
    """
    check_rest(config)
    return Prepared(
        config=config,
        secrets=secrets,
        resolved=resolve(config, secrets, egress),
        authenticator=authenticator(config, secrets),
        signing_keys=signing_keys(config, secrets),
        certificate=certificates.find(config, secrets) if certificates else None,
        stores=store_settings(config, secrets),
        credentials=credential_settings(config, secrets),
        search=search_settings(config, secrets),
        policy=policy_of(config),
        webhook=webhook(config, secrets),
        tracing=tracing_settings(config, secrets),
    )
