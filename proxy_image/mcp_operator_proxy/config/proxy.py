"""One proxy's whole configuration."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mcp_operator_proxy.config.access import Auth, Authorization, RateLimit, RequestLimits
from mcp_operator_proxy.config.base import CONFIG_VERSION, BackendUrl, ConfigModel, SecretRef, duplicates
from mcp_operator_proxy.config.credentials import Provider, Refresh
from mcp_operator_proxy.config.route import Route
from mcp_operator_proxy.config.server import Server
from mcp_operator_proxy.config.services import Audit, Inspector, Notices, Rest, Search, Stores, Tracing, Users

REST_PATHS: Final = ("/tools", "/sessions", "/servers", "/health", "/openapi.json", "/docs", "/oauth")
"""What the REST interface serves, and all beneath."""


UI_PATH: Final = "/ui"
"""Where the inspector is, and all beneath."""


def within(path: str, root: str) -> bool:
    """Whether `path` is `root` or beneath it."""
    return path == root or path.startswith(f"{root}/")


class Sessions(ConfigModel):
    """Sessions of the handshake eras. They move between workers and replicas that share the signing keys."""

    idle_seconds: Annotated[float, Field(gt=0, le=604_800)] = 1800.0
    """A session without a request or an open stream for this long ends."""
    max_sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Of one route in one worker."""
    signing_keys: tuple[SecretRef, ...] = ()
    """The first signs session ids, all verify them. None: a random key, so that sessions end with the process."""


class Tls(ConfigModel):
    """What a listener shows that was started with `--tls`: a certificate chain and its key, both PEM."""

    certificate: SecretRef
    key: SecretRef


class ProxyConfig(ConfigModel):
    """All that one proxy serves. `revision` names this content: equal content has an equal revision."""

    version: Literal["mcp-operator.dev/proxy-config/v1"] = CONFIG_VERSION
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{1,64}$")]
    servers: tuple[Server, ...] = ()
    routes: tuple[Route, ...] = ()
    auth: Auth | None = None
    """None: anybody who reaches the proxy may call."""
    sessions: Sessions = Sessions()
    tls: Tls | None = None
    """None: a listener with TLS keeps the certificate that it has."""
    access_log: bool = True
    """One line for each request."""
    allowed_hosts: tuple[str, ...] = ()
    """Host header values (`name`, `name:port`, `*.suffix`) that are answered.

    Empty: every host, as clients of a Service may use any of its names."""
    allowed_origins: tuple[str, ...] = ()
    """Origin header values that browsers may send; requests without an Origin are no browsers' and pass."""
    public_url: BackendUrl | None = None
    """Where browsers of users reach the proxy: they sign in at `/oauth/start/…` beneath it, and come back to `/oauth/callback`.
    Unset: `auth.resourceMetadata.resource`."""
    authorization: Authorization | None = None
    """None: who may call may use all that a route shows."""
    rate_limits: Annotated[tuple[RateLimit, ...], Field(max_length=64)] = ()
    limits: RequestLimits = RequestLimits()
    rest: Rest | None = None
    """None: MCP alone."""
    stores: Stores = Stores()
    users: Users = Users()
    providers: Annotated[tuple[Provider, ...], Field(max_length=64)] = ()
    refresh: Refresh = Refresh()
    search: Search = Search()
    audit: Audit | None = None
    notices: Notices | None = None
    inspector: Inspector | None = None
    """None: there is nothing at `/ui`."""
    tracing: Tracing | None = None
    """None: nothing is traced; the context of a client's trace goes on to servers all the same."""

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        ids = [s.id for s in self.servers]
        if twice := duplicates(ids):
            raise ValueError(f"server {twice[0]} is defined twice")
        if twice := duplicates(r.path for r in self.routes):
            raise ValueError(f"path {twice[0]} is served by two routes")
        known = set(ids)
        for route in self.routes:
            for entry in route.servers:
                if entry.server not in known:
                    raise ValueError(f"route {route.name} names server {entry.server}, which is not defined")
        return self

    @model_validator(mode="after")
    def _leaves_the_inspector_its_place(self) -> Self:
        if self.inspector is None:
            return self
        for route in self.routes:
            if within(route.path, UI_PATH):
                raise ValueError(f"path {route.path} is the inspector's, as all beneath {UI_PATH}")
        if self.rest is not None and within(self.rest.prefix, UI_PATH):
            raise ValueError(f"rest.prefix {self.rest.prefix} is the inspector's, as all beneath {UI_PATH}")
        return self

    @model_validator(mode="after")
    def _services_are_sound(self) -> Self:
        for what, names in (
            ("providers", [provider.name for provider in self.providers]),
            ("rate limits", [limit.name for limit in self.rate_limits]),
        ):
            if twice := duplicates(names):
                raise ValueError(f"two {what} are named {twice[0]}")
        known = {provider.name for provider in self.providers}
        for server in self.servers:
            named = getattr(server.credential, "provider", None)
            if named is not None and named not in known:
                raise ValueError(f"server {server.id} names provider {named}, which is not defined")
        if self.audit is not None and self.audit.database and self.stores.database is None:
            raise ValueError("audit.database needs stores.database")
        if self.auth is not None and any(issuer.name == "key" for issuer in self.auth.jwt):
            raise ValueError("no issuer is named key: key/NAME is the user that an API key is")
        if self.rest is not None:
            for route in self.routes:
                if any(within(route.path, self.rest.prefix + path) for path in REST_PATHS):
                    raise ValueError(f"path {route.path} is one of the REST interface; give rest a prefix")
        return self
