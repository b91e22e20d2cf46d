"""The contract between the operator and the proxy: what `config.json` in the mounted volume may say.

The operator compiles it, the proxy validates it whole before using any of it. Everything is frozen: a
`ProxyConfig` can be shared between tasks and compared by value. This module imports no MCP library.

The folder that the proxy reads holds `config.json` (a large one compressed, see `configfiles`) and, beside it, one file
per `SecretRef.file`. In a pod it is one projected volume of ConfigMaps and a Secret, so the kubelet swaps all in one step.
A credential never stands in `config.json` itself.

During an upgrade, proxies of the version before read what the new operator writes. So a new field has a default, which is
what a resource means that says nothing of it, and defaults are not written (docs/upgrades.md). Only who uses the new field
writes what an older proxy refuses.
"""

from mcp_operator_proxy.config.access import (
    OPERATOR,
    ApiKey,
    Auth,
    Authorization,
    JwtIssuer,
    RateLimit,
    RequestLimits,
    ResourceMetadata,
)
from mcp_operator_proxy.config.base import (
    CONFIG_FILE,
    CONFIG_VERSION,
    DNS_LABEL,
    SECRETS_DIR,
    WANTED_FILE,
    BackendUrl,
    ConfigModel,
    Header,
    Name,
    SecretRef,
)
from mcp_operator_proxy.config.credentials import (
    AuthorizationCode,
    ClientCredentials,
    Credential,
    Provider,
    Refresh,
    TokenEndpoint,
    TokenExchange,
    UserToken,
)
from mcp_operator_proxy.config.proxy import REST_PATHS, UI_PATH, ProxyConfig, Sessions, Tls, within
from mcp_operator_proxy.config.route import (
    DEFAULT_NAME_BUDGET,
    DEFAULT_NAMING,
    DIGEST_LENGTH,
    MCP_PATH,
    MIN_NAME_BUDGET,
    RESERVED_PATHS,
    NameBudget,
    Override,
    Prefix,
    Route,
    RouteServer,
    ToolFilter,
    exposed_name,
    naming_problem,
    shortened,
)
from mcp_operator_proxy.config.server import CircuitBreaker, EnvVar, Pin, Retry, Server, Stdio, ToolSettings, Transport
from mcp_operator_proxy.config.services import (
    Audit,
    EmbeddingEndpoint,
    Inspector,
    Notices,
    NoticeType,
    Rest,
    Search,
    Stores,
    Tracing,
    Users,
)

__all__ = [
    "CONFIG_FILE",
    "CONFIG_VERSION",
    "DEFAULT_NAME_BUDGET",
    "DEFAULT_NAMING",
    "DIGEST_LENGTH",
    "DNS_LABEL",
    "MCP_PATH",
    "MIN_NAME_BUDGET",
    "OPERATOR",
    "RESERVED_PATHS",
    "REST_PATHS",
    "SECRETS_DIR",
    "UI_PATH",
    "WANTED_FILE",
    "ApiKey",
    "Audit",
    "Auth",
    "Authorization",
    "AuthorizationCode",
    "BackendUrl",
    "CircuitBreaker",
    "ClientCredentials",
    "ConfigModel",
    "Credential",
    "EmbeddingEndpoint",
    "EnvVar",
    "Header",
    "Inspector",
    "JwtIssuer",
    "Name",
    "NameBudget",
    "NoticeType",
    "Notices",
    "Override",
    "Pin",
    "Prefix",
    "Provider",
    "ProxyConfig",
    "RateLimit",
    "Refresh",
    "RequestLimits",
    "ResourceMetadata",
    "Rest",
    "Retry",
    "Route",
    "RouteServer",
    "Search",
    "SecretRef",
    "Server",
    "Sessions",
    "Stdio",
    "Stores",
    "Tls",
    "TokenEndpoint",
    "TokenExchange",
    "ToolFilter",
    "ToolSettings",
    "Tracing",
    "Transport",
    "UserToken",
    "Users",
    "exposed_name",
    "naming_problem",
    "shortened",
    "within",
]
