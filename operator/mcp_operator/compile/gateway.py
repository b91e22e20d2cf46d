"""What a proxy does beside MCP, from its resource to its configuration, and where that takes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_operator.api import gateway as api
from mcp_operator.api.common import SecretSource
from mcp_operator.api.resources import McpProxy
from mcp_operator.api.scalars import seconds
from mcp_operator.compile import access
from mcp_operator.compile.credentials import providers
from mcp_operator.compile.lookup import DataObjects, Fields
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.tracing import tracing
from mcp_operator_proxy import config
from mcp_operator_proxy.config import within

LEAST_KEY: Final = 32
"""Characters of an encryption key."""
_REDIS: Final = ("redis", "rediss")
_DATABASES: Final = ("postgresql", "postgres", "sqlite")
_PORTS: Final = {"redis": 6379, "rediss": 6379, "postgresql": 5432, "postgres": 5432, "https": 443, "http": 80}
_MILVUS_PORT: Final = 19530
Place = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """`settings` are fields of a `ProxyConfig`; `held` says why this proxy keeps the configuration that it has, if so."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()
    held: Problem | None = None
    places: frozenset[Place] = frozenset()
    """Where its stores are, which only Secrets say."""
    is_file: bool = False
    """Its database is a file."""


def gateway(proxy: McpProxy, objects: DataObjects, operator_key: bytes | None) -> Gateway:
    """Everything of a proxy's configuration but its servers and routes.

    What refers to something missing is left out, and closed where it says who may call; without its stores a proxy would
    forget its users, so it is held instead.
    """
    spec, fields = proxy.spec, Fields(proxy.metadata.namespace, objects)
    settings: dict[str, Any] = {
        "rate_limits": access.rate_limits(spec.rate_limits),
        "limits": access.request_limits(spec.request_limits),
        "users": _users(spec.users),
        "refresh": config.Refresh(
            every_seconds=seconds(spec.refresh.interval), within_seconds=seconds(spec.refresh.before)
        ),
        "providers": tuple(providers(spec.providers, fields)),
    }
    if spec.authentication is not None:
        settings["auth"] = access.authentication(spec.authentication, operator_key, fields)
    if spec.authorization is not None:
        settings["authorization"] = access.authorization(spec.authorization, fields)
    if spec.rest is not None and is_of_rest(spec.path, spec.rest.prefix):
        why = f"spec.rest: spec.path {spec.path} is one of its own paths; give it a prefix"
        fields.tell("InvalidValue", why)
    elif spec.rest is not None:
        settings["rest"] = _rest(spec.rest)
    if spec.inspector.enabled and within(spec.path, config.UI_PATH):
        fields.tell("InvalidValue", f"spec.inspector: spec.path {spec.path} is its own; take another")
    elif spec.inspector.enabled and spec.rest is not None and within(spec.rest.prefix, config.UI_PATH):
        fields.tell("InvalidValue", f"spec.inspector: spec.rest.prefix {spec.rest.prefix} is its own; take another")
    elif spec.inspector.enabled:
        settings["inspector"] = config.Inspector(
            operators=spec.inspector.operators, traffic=spec.inspector.traffic, name=proxy.id
        )
    if spec.audit is not None:
        settings["audit"] = audit(spec.audit)
    if spec.notices is not None and (notices := _notices(spec.notices, fields)) is not None:
        settings["notices"] = notices
    if spec.tracing is not None and (traces := tracing(proxy.metadata.name, spec.tracing, fields)) is not None:
        settings["tracing"] = traces
    places: set[Place] = set()
    settings["search"] = _search(spec.search, fields, places)
    before = len(fields.problems)
    settings["stores"], database = _stores(spec.stores, fields, places)
    held = fields.problems[before] if len(fields.problems) > before else None
    if held is not None:
        settings["stores"] = config.Stores()
        settings.pop("audit", None)
    return Gateway(
        settings, fields.secrets, tuple(fields.problems), held, frozenset(places), database.startswith("sqlite")
    )


def is_of_rest(path: str, prefix: str) -> bool:
    """Whether the REST interface behind `prefix` serves the path."""
    return any(within(path, prefix + own) for own in config.REST_PATHS)


def _rest(wanted: api.Rest) -> config.Rest:
    return config.Rest(
        prefix=wanted.prefix,
        docs=wanted.docs,
        tool_timeout_seconds=seconds(wanted.tool_timeout),
        operators=wanted.operators,
    )


def _users(wanted: api.Users) -> config.Users:
    return config.Users(
        ttl_seconds=seconds(wanted.ttl),
        idle_seconds=seconds(wanted.idle_timeout),
        max_sessions=wanted.max_sessions,
        issuer=wanted.issuer,
        applications=wanted.applications,
    )


def audit(wanted: api.Audit) -> config.Audit:
    """What is recorded of calls."""
    return config.Audit(
        stdout=wanted.stdout,
        database=wanted.database,
        arguments=wanted.arguments,
        keep_seconds=seconds(wanted.keep_for),
    )


def _notices(wanted: api.Notices, fields: Fields) -> config.Notices | None:
    """None where they could not be signed as they shall be."""
    key = fields.file("spec.notices.signingKey", wanted.signing_key) if wanted.signing_key else None
    if wanted.signing_key and key is None:
        return None
    return config.Notices.model_validate(
        {
            "webhook": wanted.webhook,
            "signing_key": key,
            "types": [api.NOTICES[one] for one in wanted.types],
            "attempts": wanted.attempts,
        }
    )


def _search(wanted: api.Search, fields: Fields, places: set[Place]) -> config.Search:
    """How tools are found: by words alone where the endpoint has no key, in memory where the Milvus is not known."""
    embedder: Any = {"BuiltIn": "wordllama", "None": "none", "Endpoint": "none"}[wanted.embedder]
    if wanted.endpoint is not None:
        key = fields.file("spec.search.endpoint.key", wanted.endpoint.key) if wanted.endpoint.key else None
        if key is not None or wanted.endpoint.key is None:
            embedder = {"url": wanted.endpoint.url, "model": wanted.endpoint.model, "key": key}
    milvus = None
    if wanted.milvus is not None and (uri := fields.text("spec.search.milvus", wanted.milvus)) is not None:
        milvus = fields.file("spec.search.milvus", wanted.milvus)
        parts = urlsplit(uri.partition("#")[0])
        if parts.scheme in {"http", "https", "tcp"} and (place := _place(parts.geturl(), _MILVUS_PORT)):
            places.add(place)
    return config.Search.model_validate({"embedder": embedder, "milvus": milvus, "limit": wanted.limit})


def _stores(wanted: api.Stores, fields: Fields, places: set[Place]) -> tuple[config.Stores, str]:
    """The stores, and the URL of the database without what is secret in it."""
    redis = _store(wanted.redis, "spec.stores.redis", _REDIS, fields, places)
    database = _store(wanted.database, "spec.stores.database", _DATABASES, fields, places)
    keys = []
    for index, source in enumerate(wanted.encryption_keys):
        where = f"spec.stores.encryptionKeys[{index}]"
        key = fields.text(where, source)
        if key is not None and len(key) < LEAST_KEY:
            fields.refuse(where, "Secret", source.secret_key_ref, f"has less than {LEAST_KEY} characters")
        elif key is not None:
            keys.append(fields.file(where, source))
    body = {"redis": redis and redis[0], "database": database and database[0], "encryption_keys": keys}
    complete = not (redis or database) or bool(keys)
    return config.Stores.model_validate(body) if complete else config.Stores(), database[1] if database else ""


def _store(
    source: SecretSource | None, where: str, schemes: tuple[str, ...], fields: Fields, places: set[Place]
) -> tuple[config.SecretRef, str] | None:
    """The file with a store's URL, and the URL's scheme."""
    if source is None or (text := fields.text(where, source)) is None:
        return None
    scheme = text.strip().partition("://")[0]
    place = _place(text.strip(), _PORTS.get(scheme, 0))
    if scheme not in schemes or (place is None and scheme != "sqlite"):
        wanted = " or ".join(f"{one}://" for one in schemes if one != "postgres")
        fields.refuse(where, "Secret", source.secret_key_ref, f"is no URL that begins with {wanted} and names a host")
        return None
    if place is not None:
        places.add(place)
    file = fields.file(where, source)
    return None if file is None else (file, scheme)


def stores_at(stores: config.Stores, files: Mapping[str, bytes]) -> tuple[frozenset[Place], bool]:
    """Where the stores of a configuration are, by its secret files, and whether the database is a file."""
    urls = {kind: _text(ref, files) for kind, ref in (("redis", stores.redis), ("database", stores.database)) if ref}
    found = (_place(url, _PORTS.get(url.partition("://")[0], 0)) for url in urls.values())
    return frozenset(place for place in found if place is not None), urls.get("database", "").startswith("sqlite")


def _text(ref: config.SecretRef, files: Mapping[str, bytes]) -> str:
    return files.get(ref.file, b"").decode(errors="replace").strip()


def _place(url: str, port: int) -> Place | None:
    """Host and port of a URL, and nothing else of it; None where it has none that can be read."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or port
    except ValueError:
        return None
    return (host, port) if host else None


def outward(body: config.ProxyConfig) -> Iterator[Place]:
    """Hosts and ports, beside its servers and stores, that a configuration sends its proxy to.

    No host: anywhere, as a server's own metadata says whom its users sign in at.
    """
    if any(server.credential is not None and server.credential.kind == "authorizationCode" for server in body.servers):
        yield "", _PORTS["https"]
    for url in _urls(body):
        if (place := _place(url, _PORTS["http" if url.startswith("http:") else "https"])) is not None:
            yield place


def _urls(body: config.ProxyConfig) -> Iterator[str]:
    for issuer in body.auth.jwt if body.auth else ():
        yield issuer.issuer
        yield str(issuer.jwks_url or "")
    for provider in body.providers:
        yield str(provider.authority or provider.issuer or _addresses(provider))
    if isinstance(body.search.embedder, config.EmbeddingEndpoint):
        yield str(body.search.embedder.url)
    if body.notices is not None:
        yield str(body.notices.webhook)
    if body.tracing is not None:
        yield str(body.tracing.endpoint)
    for server in body.servers:
        if server.credential is None:
            continue
        endpoint = getattr(server.credential, "endpoint", None)
        if endpoint is not None:
            yield str(endpoint.url or endpoint.issuer)


def _addresses(provider: config.Provider) -> str:
    known = {
        "azure": "https://login.microsoftonline.com",
        "cognito": f"https://cognito-idp.{provider.region}.amazonaws.com",
        "google": "https://oauth2.googleapis.com",
    }
    return known.get(provider.kind, "")


def unshared(body: config.ProxyConfig, *, is_file: bool) -> tuple[str, ...]:
    """What the processes of a proxy would have to share and do not, where there are several."""
    found = []
    if body.stores.redis is None:
        if body.rest is not None or any(server.of_users for server in body.servers):
            found.append("sessions of users (set spec.stores.redis)")
        if body.rate_limits:
            found.append("counts of rate limits (set spec.stores.redis)")
    if body.stores.database is None or is_file:
        needed = "set spec.stores.database to a PostgreSQL"
        kinds = {server.credential.kind for server in body.servers if server.credential is not None}
        if kinds - {"clientCredentials"}:
            found.append(f"credentials of users ({needed})")
        if body.audit is not None and body.audit.database:
            found.append(f"records of calls ({needed})")
    return tuple(found)
