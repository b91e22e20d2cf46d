"""Who may call a proxy and what, from its resource to its configuration.

What can't be had never opens a proxy: a key that is missing lets nobody in, an issuer that can't be verified is left out, and
while a policy is missing nothing is permitted.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import AnyHttpUrl, ValidationError

from mcp_operator.api import access as api
from mcp_operator.api.common import KeyRef
from mcp_operator.api.resources import describe
from mcp_operator.api.scalars import amount, seconds
from mcp_operator.compile.lookup import Fields
from mcp_operator.compile.policies import unreadable
from mcp_operator_proxy import config

OPERATOR_KEY_FILE: Final = "operator-key"
"""Secret file with the operator's own key. It is made once and never renewed, so it carries no version in its name."""
NOBODYS_KEY: Final = b"sha256:" + b"0" * 64
"""Where the operator has no key: so that there is always one, and no proxy opens for want of keys."""
DENY_ALL: Final = "forbid (principal, action, resource);"
_KEY: Final = re.compile(rb"[\x21-\x7e]{16,1024}\n?")
_DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})\n?")
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,128}")
_WHERE: Final = "spec.authentication"


def authentication(wanted: api.Authentication, operator_key: bytes | None, fields: Fields) -> config.Auth:
    """Who may call. The operator may always: it proves that the proxy answers. It may call nothing but canaries (`with_canaries`)."""
    fields.secrets[OPERATOR_KEY_FILE] = operator_key or NOBODYS_KEY
    own = config.ApiKey(name=config.OPERATOR, secret=config.SecretRef(file=OPERATOR_KEY_FILE), calls=())
    metadata = wanted.resource_metadata
    return config.Auth(
        api_keys=(own, *_api_keys(wanted, operator_key, fields)),
        jwt=tuple(_issuers(wanted, fields)),
        resource_metadata=None
        if metadata is None
        else config.ResourceMetadata.model_validate(metadata.model_dump(exclude_defaults=True)),
        anonymous=wanted.anonymous,
    )


def with_canaries(auth: config.Auth, canaries: Iterable[str]) -> config.Auth:
    """Where the operator may call these tools, `NAMESPACE/SERVER/NAME`, and sees no others."""
    own, *others = auth.api_keys
    return auth.model_copy(update={"api_keys": (own.model_copy(update={"calls": tuple(sorted(canaries))}), *others)})


def _api_keys(wanted: api.Authentication, operator_key: bytes | None, fields: Fields) -> Iterator[config.ApiKey]:
    """Those that can be used. A proxy refuses all where one can't, so that one is left out here."""
    names: dict[str, str] = {}
    digests = {_digest(operator_key or NOBODYS_KEY): config.OPERATOR}
    for where, name, value, version, what in _found(wanted, fields):
        digest = _digest(value)
        if digest is None:
            fields.tell(
                "InvalidValue",
                f"{where}: the key of {name} is none: at least 16 printable ASCII characters without spaces, or sha256: and its"
                " digest in hex",
            )
        elif name in names:
            fields.tell("InvalidValue", f"{where}: {name} has a key already ({names[name]}); take one of the two away")
        elif digest in digests:
            fields.tell("InvalidValue", f"{where}: {name} has the key of {digests[digest]}; give it another one")
        else:
            names[name], digests[digest] = where, name
            yield config.ApiKey(name=name, secret=fields.put(what, version, value))


def _found(wanted: api.Authentication, fields: Fields) -> Iterator[tuple[str, str, bytes, str, str]]:
    """Where it is declared, the caller's name, the key, its version, and where it stands."""
    for key in wanted.api_keys:
        where, ref = f"{_WHERE}.apiKeys[{key.name}]", key.value_from.secret_key_ref
        if (found := fields.value(where, "Secret", ref)) is not None:
            yield where, key.name, *found, f"{ref.name}/{ref.key}"
    for secret in wanted.api_key_secrets:
        where = f"{_WHERE}.apiKeySecrets[{secret.name}]"
        whole = fields.whole(where, "Secret", secret.name)
        for name, value in sorted(whole.data.items()) if whole else ():
            if _NAME.fullmatch(name) and name != config.OPERATOR:
                assert whole
                yield where, name, value, whole.version, f"{secret.name}/{name}"
            else:
                why = "is the operator's own name" if name == config.OPERATOR else "can't be the name of a caller"
                fields.refuse(where, "Secret", KeyRef(name=secret.name, key=name), why)


def _digest(key: bytes) -> bytes | None:
    if match := _DIGEST.fullmatch(key):
        return bytes.fromhex(match[1].decode())
    return hashlib.sha256(key.removesuffix(b"\n")).digest() if _KEY.fullmatch(key) else None


def _issuers(wanted: api.Authentication, fields: Fields) -> Iterator[config.JwtIssuer]:
    known: dict[str, str] = {}
    for issuer in wanted.jwt:
        where, before = f"{_WHERE}.jwt[{issuer.name}]", len(fields.problems)
        bundle = fields.bundle(f"{where}.caBundle", issuer.ca_bundle) if issuer.ca_bundle else None
        if issuer.jwks_url is None and not _is_url(issuer.issuer):
            fields.tell("InvalidValue", f"{where}: its issuer is no URL, so nothing names its keys; set jwksUrl")
        if issuer.issuer in known:
            fields.tell(
                "InvalidValue", f"{where}: {known[issuer.issuer]} has the same issuer; take one of the two away"
            )
        if len(fields.problems) > before:
            continue
        known[issuer.issuer] = issuer.name
        body = issuer.model_dump(exclude_defaults=True, exclude={"ca_bundle", "leeway"})
        body |= {"ca_bundle": bundle, "leeway_seconds": seconds(issuer.leeway)}
        try:
            yield config.JwtIssuer.model_validate(body)
        except ValidationError as error:
            fields.tell("InvalidValue", f"{where}: {describe(error)}")


def _is_url(text: str) -> bool:
    try:
        return AnyHttpUrl(text).host is not None
    except ValidationError:
        return False


def authorization(wanted: api.Authorization, fields: Fields) -> config.Authorization:
    """What callers may use; nothing where a policy can't be had, as it may be one that forbids.

    What can't be read is told and given to the proxy all the same: it refuses it, and keeps what it has.
    """
    where = "spec.authorization.policies"
    found: dict[str, str] = {}
    before = len(fields.problems)
    for index, policy in enumerate(wanted.policies):
        if policy.inline is not None:
            found[f"{where}[{index}]"] = policy.inline
        elif policy.config_map_key_ref is not None:
            ref = policy.config_map_key_ref
            value = fields.value(f"{where}[{index}]", "ConfigMap", ref)
            if value is not None:
                try:
                    found[f"{where}[{index}]"] = value[0].decode()
                except UnicodeDecodeError:
                    fields.refuse(f"{where}[{index}]", "ConfigMap", ref, "is no text")
    text = "\n".join(found.values())
    if len(text.encode()) > api.POLICIES_BYTES:
        fields.tell("InvalidValue", f"{where}: together they are larger than {api.POLICIES_BYTES} bytes")
    elif not text.strip():
        fields.tell("InvalidValue", f"{where}: they hold no policy, so nothing is permitted")
    if len(fields.problems) > before:
        return config.Authorization(policies=DENY_ALL)
    for place, problem in unreadable(found).items():
        fields.tell("InvalidValue", f"{place}: {problem}")
    return config.Authorization(policies=text)


def rate_limits(wanted: api.RateLimits) -> tuple[config.RateLimit, ...]:
    """How often callers may call."""
    return tuple(
        config.RateLimit(
            name=limit.name,
            limit=limit.limit,
            per=tuple(_PER[one] for one in limit.per),
            tools=limit.tools,
            servers=limit.servers,
        )
        for limit in wanted
    )


_PER: Final[Mapping[str, Any]] = {"Caller": "caller", "Tool": "tool", "Server": "server", "Route": "route"}


def request_limits(wanted: api.RequestLimits) -> config.RequestLimits:
    """What one request's body may be."""
    return config.RequestLimits(max_bytes=int(amount(wanted.max_body_size)), max_depth=wanted.max_depth)
