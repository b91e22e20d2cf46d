"""Settings of the proxy from environment variables, for the image alone. Pure; docs/rest.md has the table that `table` makes.

They are laid over the configuration file and win over it, as is the custom of containers. What speaks of servers is what those mean
that say nothing of their own. An empty variable is as good as none. No value is repeated in an error: it may be a secret.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from mcp_operator_proxy.auth import Authenticator, BadKey
from mcp_operator_proxy.stores.sealed import BadKey as BadEncryptionKey
from mcp_operator_proxy.stores.sealed import Sealer

Json: TypeAlias = dict[str, Any]
_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)")
_FLAGS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
ISSUER: Final = "jwt"
"""The name of the issuer that `JWT_ISSUER` is."""


class BadSetting(Exception):
    """A variable that cannot be used: its name, and what would be right."""


@dataclass
class Overlay:
    """A configuration as JSON, and the secrets that it refers to by file, while variables are laid over it."""

    data: Json
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    places: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Which variable wrote what stands there."""

    def put(self, variable: str, value: Any, *path: str) -> None:
        at = self.data
        for part in path[:-1]:
            if not isinstance(at.get(part), dict):
                at[part] = {}
            at = at[part]
        at[path[-1]] = value
        self.places[path] = variable

    def secret(self, name: str, value: str) -> Json:
        """A reference to a secret; no file of a folder has its name."""
        file = f"environment-{name.lower().replace('_', '-')}"
        self.secrets[file] = value
        return {"file": file}

    def named(self, variable: str, item: Json, *path: str) -> None:
        """Add to a list, in the place of an item of the same name."""
        at: Any = self.data
        for part in path[:-1]:
            at = at.get(part) if isinstance(at.get(part), dict) else {}
        kept = [one for one in at.get(path[-1]) or () if not isinstance(one, dict) or one.get("name") != item["name"]]
        self.put(variable, [*kept, item], *path)

    def servers(self, variable: str, name: str, value: Any, *, stdio: bool = False) -> None:
        """What servers mean that do not say it themselves."""
        for index, server in enumerate(self.data.get("servers") or ()):
            if not isinstance(server, dict):
                continue
            at = server.get("stdio") if stdio else server
            if isinstance(at, dict):
                at.setdefault(name, value)
                self.places["servers", str(index), *(("stdio",) if stdio else ()), name] = variable


Write: TypeAlias = Callable[[Overlay, Mapping[str, str]], None]


@dataclass(frozen=True)
class Setting:
    """One variable. `write` is None for what the command line reads itself."""

    name: str
    takes: str
    about: str
    write: Write | None = None


def applied(environ: Mapping[str, str], data: Mapping[str, Any]) -> Overlay:
    """Lay the variables over a configuration. Raises BadSetting."""
    overlay = Overlay(copy.deepcopy(dict(data)))
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    for setting in SETTINGS:
        if setting.write is not None and setting.name in given:
            setting.write(overlay, given)
    return overlay


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether any variable says something of the configuration."""
    return any(s.write is not None and environ.get(s.name, "").strip() for s in SETTINGS)


def table() -> str:
    """For the documentation."""
    rows = [f"| `{s.name}` | {s.takes} | {s.about} |" for s in SETTINGS]
    return "\n".join(["| variable | takes | sets |", "| --- | --- | --- |", *rows])


# What variables may say


def seconds(name: str, text: str) -> float:
    match = _SECONDS.fullmatch(text.lower())
    if match is None or not (value := float(match[1]) * _UNITS[match[2]]):
        raise BadSetting(f"{name}: must be a positive number of seconds, or have a unit: 500ms, 30s, 5m, 8h, 7d")
    return value


def count(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise BadSetting(f"{name}: must be a whole number")
    return int(text)


def flag(name: str, text: str) -> bool:
    value = _FLAGS.get(text.lower())
    if value is None:
        raise BadSetting(f"{name}: must be true or false")
    return value


def several(name: str, text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    if "" in found:
        raise BadSetting(f"{name}: must be a list by commas, without empty parts")
    return found


def url(name: str, text: str, *schemes: str) -> str:
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise BadSetting(f"{name}: must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return text


# What they write


def _put(read: Callable[[str, str], Any], name: str, *path: str) -> Write:
    return lambda overlay, given: overlay.put(name, read(name, given[name]), *path)


def _servers(read: Callable[[str, str], Any], name: str, member: str, *, stdio: bool = False) -> Write:
    return lambda overlay, given: overlay.servers(name, member, read(name, given[name]), stdio=stdio)


def _timeout(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "TOOL_EXECUTION_TIMEOUT"
    value = seconds(name, given[name])
    overlay.servers(name, "callTimeoutSeconds", value)
    if isinstance(overlay.data.get("rest"), dict):
        overlay.put(name, value, "rest", "toolTimeoutSeconds")


def _health(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "HEALTH_CHECK_INTERVAL"
    value = seconds(name, given[name])
    overlay.servers(name, "refreshSeconds", value)
    overlay.servers(name, "pingSeconds", value, stdio=True)


def _rest(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "REST_ENABLED"
    if not flag(name, given[name]):
        overlay.data.pop("rest", None)
    elif not isinstance(overlay.data.get("rest"), dict):
        overlay.put(name, {}, "rest")


def _inspector(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "INSPECTOR"
    if not flag(name, given[name]):
        overlay.data.pop("inspector", None)
    elif not isinstance(overlay.data.get("inspector"), dict):
        overlay.put(name, {}, "inspector")


def _inspector_operators(overlay: Overlay, given: Mapping[str, str]) -> None:
    """Where there is an inspector at all."""
    name = "INSPECTOR_OPERATORS"
    value = several(name, given[name])
    if isinstance(overlay.data.get("inspector"), dict):
        overlay.put(name, value, "inspector", "operators")


def _within_rest(read: Callable[[str, str], Any], name: str, member: str) -> Write:
    """Where REST is served at all."""

    def write(overlay: Overlay, given: Mapping[str, str]) -> None:
        value = read(name, given[name])
        if isinstance(overlay.data.get("rest"), dict):
            overlay.put(name, value, "rest", member)

    return write


def _store(name: str, member: str, *schemes: str) -> Write:
    def write(overlay: Overlay, given: Mapping[str, str]) -> None:
        overlay.put(name, overlay.secret(name, url(name, given[name], *schemes)), "stores", member)
        if "ENCRYPTION_KEYS" not in given and not (overlay.data.get("stores") or {}).get("encryptionKeys"):
            raise BadSetting(f"{name}: what outlives the process is encrypted: set ENCRYPTION_KEYS too")

    return write


def _encryption(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "ENCRYPTION_KEYS"
    keys = several(name, given[name])
    try:
        Sealer(tuple(keys))
    except BadEncryptionKey as error:
        raise BadSetting(f"{name}: {error}") from None
    overlay.put(name, [overlay.secret(f"{name}-{n}", key) for n, key in enumerate(keys)], "stores", "encryptionKeys")


def _api_keys(overlay: Overlay, given: Mapping[str, str]) -> None:
    name = "API_KEYS"
    keys: dict[str, str] = {}
    for part in several(name, given[name]):
        caller, equals, key = part.partition("=")
        if not equals or not caller or caller in keys:
            raise BadSetting(f"{name}: must be NAME=KEY, several by commas, each name once")
        keys[caller.strip()] = key.strip()
    try:
        Authenticator(keys)
    except BadKey as error:
        raise BadSetting(f"{name}: {error}") from None
    for number, (caller, key) in enumerate(keys.items()):
        overlay.named(name, {"name": caller, "secret": overlay.secret(f"{name}-{number}", key)}, "auth", "apiKeys")


def _jwt(overlay: Overlay, given: Mapping[str, str]) -> None:
    if "JWT_AUDIENCE" not in given:
        raise BadSetting("JWT_ISSUER: a token is for somebody: set JWT_AUDIENCE too")
    issuer: Json = {
        "name": ISSUER,
        "issuer": url("JWT_ISSUER", given["JWT_ISSUER"], "https", "http"),
        "audiences": several("JWT_AUDIENCE", given["JWT_AUDIENCE"]),
    }
    if "JWT_JWKS_URL" in given:
        issuer["jwksUrl"] = url("JWT_JWKS_URL", given["JWT_JWKS_URL"], "https", "http")
    overlay.named("JWT_ISSUER", issuer, "auth", "jwt")
    users = overlay.data.get("users")
    if not isinstance(users, dict) or users.get("issuer") is None:
        overlay.put("JWT_ISSUER", ISSUER, "users", "issuer")


def _needs(name: str, other: str) -> Write:
    """Read with `other`; alone it means nothing."""

    def write(_: Overlay, given: Mapping[str, str]) -> None:
        if other not in given:
            raise BadSetting(f"{name}: means nothing without {other}")

    return write


def _provider(kind: str, prefix: str, members: Mapping[str, str]) -> Write:
    """A provider of that name, written by the first of its variables; `members` of it are needed all."""

    def write(overlay: Overlay, given: Mapping[str, str]) -> None:
        provider: Json = {"name": kind, "kind": kind}
        for variable, member in members.items():
            if variable not in given:
                raise BadSetting(f"{variable}: is needed where other variables {prefix}_… are set")
            provider[member] = given[variable]
        if (secret := f"{prefix}_CLIENT_SECRET") in given:
            provider["clientSecret"] = overlay.secret(secret, given[secret])
        overlay.named(next(iter(members)), provider, "providers")

    return write


_AZURE: Final = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "clientId"}
_COGNITO: Final = {"COGNITO_REGION": "region", "COGNITO_USER_POOL_ID": "userPool", "COGNITO_CLIENT_ID": "clientId"}
_GOOGLE: Final = {"GOOGLE_CLIENT_ID": "clientId"}


def _mcp_servers(_: Overlay, given: Mapping[str, str]) -> None:
    """Only read where there is no file: see `swap.given`."""
    servers_of(given)


def servers_of(given: Mapping[str, str]) -> Json | None:
    """What `MCP_SERVERS` holds. Raises BadSetting."""
    text = given.get("MCP_SERVERS", "").strip()
    if not text:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadSetting(
            'MCP_SERVERS: must be a JSON object of servers, such as {"time": {"command": "uvx", "args": ["mcp-server-time"]}}'
        )
    inner = data.get("mcpServers")
    return inner if isinstance(inner, dict) else data


_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


def _traced(read: Callable[[Overlay, str, str], Any], name: str, member: str) -> Write:
    """Where traces go somewhere: these variables are others' too, and stand in many pods that trace nothing."""

    def write(overlay: Overlay, given: Mapping[str, str]) -> None:
        if isinstance(overlay.data.get("tracing"), dict):
            overlay.put(name, read(overlay, name, given[name]), "tracing", member)

    return write


def _ratio(_: Overlay, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadSetting(f"{name}: must be a number from 0 to 1")
    return value


def _otlp_headers(overlay: Overlay, name: str, text: str) -> list[Json]:
    """`key=value` by commas, the values percent-encoded as in W3C Baggage (OTLP exporter specification)."""
    found = []
    for number, part in enumerate(several(name, text)):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise BadSetting(f"{name}: must be NAME=VALUE, several by commas")
        found.append({"name": key.strip(), "secret": overlay.secret(f"{name}-{number}", unquote(value.strip()))})
    return found


def _text(_: Overlay, __: str, text: str) -> str:
    return text


_OTLP: Final = _put(lambda name, text: url(name, text, "https", "http"), _ENDPOINT, "tracing", "endpoint")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "headers")
_RESTARTS: Final = _servers(count, "MAX_RESTART_ATTEMPTS", "maxRestarts", stdio=True)
_REDIS: Final = _store("REDIS_URL", "redis", "redis", "rediss", "unix")
_DATABASE: Final = _store("DATABASE_URL", "database", "postgresql", "postgres", "sqlite")

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("HOST", "address", "where it listens; all addresses by default"),
    Setting("PORT", "0-65535", "its port: 8080; 0 for any that is free"),
    Setting("WORKERS", "1-64", "processes, one for a core: 1"),
    Setting("LOG_LEVEL", "`debug`, `info`, `warning`, `error`", "what is logged: `info`"),
    Setting("LOG_FORMAT", "`json`, `text`", "how: `json`"),
    Setting("MCP_PROXY_CONFIG_DIR", "folder", "of `config.json`: `/etc/mcp-proxy`"),
    Setting("MCP_SERVERS", "JSON", "servers as desktop clients write them in `mcpServers`, where there is no `config.json`", _mcp_servers),
    Setting("TOOL_EXECUTION_TIMEOUT", "seconds", "`callTimeoutSeconds` of servers that say none, and `rest.toolTimeoutSeconds`", _timeout),
    Setting("HEALTH_CHECK_INTERVAL", "seconds", "`refreshSeconds` and `stdio.pingSeconds` of servers that say none", _health),
    Setting("MAX_RESTART_ATTEMPTS", "number", "`stdio.maxRestarts` of servers that say none", _RESTARTS),
    Setting("REST_ENABLED", "true, false", "whether REST is served: `rest`", _rest),
    Setting("REST_PREFIX", "path", "`rest.prefix`", _within_rest(lambda _, text: text, "REST_PREFIX", "prefix")),
    Setting("REST_OPERATORS", "names by commas", "`rest.operators`", _within_rest(several, "REST_OPERATORS", "operators")),
    Setting("INSPECTOR", "true, false", "whether there is a page at `/ui`: `inspector` ([inspector.md](inspector.md))", _inspector),
    Setting("INSPECTOR_OPERATORS", "names by commas", "`inspector.operators`", _inspector_operators),
    Setting("REDIS_URL", "`redis://…`, `rediss://…`, `unix://…`", "`stores.redis`", _REDIS),
    Setting("DATABASE_URL", "`postgresql://…`, `sqlite:///…`", "`stores.database`", _DATABASE),
    Setting("ENCRYPTION_KEYS", "keys by commas", "`stores.encryptionKeys`: the first encrypts, all decrypt", _encryption),
    Setting("API_KEYS", "`NAME=KEY` by commas", "`auth.apiKeys`, beside those of the file", _api_keys),
    Setting("JWT_ISSUER", "URL", "an issuer in `auth.jwt`, named `jwt`; its callers are the users, unless `users.issuer` is set", _jwt),
    Setting("JWT_AUDIENCE", "texts by commas", "of that issuer; needed", _needs("JWT_AUDIENCE", "JWT_ISSUER")),
    Setting("JWT_JWKS_URL", "URL", "of that issuer, where its metadata does not say it", _needs("JWT_JWKS_URL", "JWT_ISSUER")),
    Setting("AZURE_TENANT_ID", "id or domain", "a provider named `azure`", _provider("azure", "AZURE", _AZURE)),
    Setting("AZURE_CLIENT_ID", "id", "of it; needed", _needs("AZURE_CLIENT_ID", "AZURE_TENANT_ID")),
    Setting("AZURE_CLIENT_SECRET", "secret", "of it", _needs("AZURE_CLIENT_SECRET", "AZURE_TENANT_ID")),
    Setting("COGNITO_REGION", "region", "a provider named `cognito`", _provider("cognito", "COGNITO", _COGNITO)),
    Setting("COGNITO_USER_POOL_ID", "id", "of it; needed", _needs("COGNITO_USER_POOL_ID", "COGNITO_REGION")),
    Setting("COGNITO_CLIENT_ID", "id", "of it; needed", _needs("COGNITO_CLIENT_ID", "COGNITO_REGION")),
    Setting("COGNITO_CLIENT_SECRET", "secret", "of it", _needs("COGNITO_CLIENT_SECRET", "COGNITO_REGION")),
    Setting("GOOGLE_CLIENT_ID", "id", "a provider named `google`", _provider("google", "GOOGLE", _GOOGLE)),
    Setting("GOOGLE_CLIENT_SECRET", "secret", "of it", _needs("GOOGLE_CLIENT_SECRET", "GOOGLE_CLIENT_ID")),
    Setting("CORS_ORIGINS", "origins by commas", "`allowedOrigins`", _put(several, "CORS_ORIGINS", "allowedOrigins")),
    Setting("ALLOWED_HOSTS", "hosts by commas", "`allowedHosts`", _put(several, "ALLOWED_HOSTS", "allowedHosts")),
    Setting("SESSION_TTL", "seconds", "`users.ttlSeconds`", _put(seconds, "SESSION_TTL", "users", "ttlSeconds")),
    Setting("SESSION_IDLE_TIMEOUT", "seconds", "`users.idleSeconds`", _put(seconds, "SESSION_IDLE_TIMEOUT", "users", "idleSeconds")),
    Setting("USER_APPLICATIONS", "names by commas", "`users.applications`", _put(several, "USER_APPLICATIONS", "users", "applications")),
    Setting(_ENDPOINT, "URL", "`tracing.endpoint`: traces go there, by OTLP over HTTP", _OTLP),
    Setting("OTEL_EXPORTER_OTLP_HEADERS", "`NAME=VALUE` by commas", "`tracing.headers`", _traced(_otlp_headers, *_HEADERS)),
    Setting("OTEL_SERVICE_NAME", "text", "`tracing.serviceName`", _traced(_text, "OTEL_SERVICE_NAME", "serviceName")),
    Setting("OTEL_TRACES_SAMPLER_ARG", "0-1", "`tracing.sampleRatio`", _traced(_ratio, "OTEL_TRACES_SAMPLER_ARG", "sampleRatio")),
)  # fmt: skip
