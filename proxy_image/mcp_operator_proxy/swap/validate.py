"""From bytes to a `ProxyConfig` with its secrets filled in, or one clear message that says what is wrong. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Final

from pydantic import ValidationError

from mcp_operator_proxy.auth import Authenticator, BadKey
from mcp_operator_proxy.backends.http import BadCABundle, ssl_context
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.callers import LEAST_KEY
from mcp_operator_proxy.config import CONFIG_FILE, Header, JwtIssuer, ProxyConfig, SecretRef, Server
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.sessions.ids import Keys
from mcp_operator_proxy.swap.words import describe

_HEADER_VALUE: Final = re.compile(r"^[\t\x20-\x7e\x80-\xff]*$")


class ConfigRejected(Exception):
    """Why a configuration is not used. The message holds field paths and no values, as a value may be a secret."""

    def __init__(self, message: str, revision: str | None = None) -> None:
        super().__init__(message)
        self.revision = revision


class NotThereYet(ConfigRejected):
    """Something that belongs to it has not arrived: it may be on its way."""


class SecretMissing(NotThereYet):
    """A referenced secret file is not there, or not yet."""


def installed(what: str, modules: Iterable[str], revision: str | None = None, extra: str = "gateway") -> None:
    """Raises ConfigRejected where one of `modules`, which come with an extra of the product and which `what` needs, is missing."""
    missing = next((module for module in modules if find_spec(module) is None), None)
    if missing is not None:
        raise ConfigRejected(f"{what}: it needs mcp-operator[{extra}], of which {missing} is not installed", revision)


def parse(text: bytes) -> ProxyConfig:
    """Validate the whole of `config.json`. Raises ConfigRejected."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigRejected(f"{CONFIG_FILE} is not JSON{where}") from None
    if not isinstance(data, dict):
        raise ConfigRejected(f"{CONFIG_FILE} must hold a JSON object")
    try:
        return ProxyConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigRejected(describe(error), _revision(data)) from None


def _revision(data: Mapping[str, Any]) -> str | None:
    revision = data.get("revision")
    return revision if isinstance(revision, str) and re.fullmatch(r"[0-9a-z]{1,64}", revision) else None


def resolve(config: ProxyConfig, secrets: Mapping[str, str], egress: Egress | None = None) -> dict[str, ResolvedServer]:
    """Fill in the headers, and check what only a look at the content shows.

    Raises:
        SecretMissing: `secrets` lacks a file that a header refers to.
        ConfigRejected: a secret is no header value, or a CA bundle holds no certificate.
    """
    resolved: dict[str, ResolvedServer] = {}
    for index, server in enumerate(config.servers):
        try:
            if server.ca_bundle is not None:
                ssl_context(server.ca_bundle)
        except BadCABundle as error:
            raise ConfigRejected(f"servers[{index}].caBundle of {server.id}: {error}", config.revision) from None
        headers = {
            header.name: header_value(
                header, secrets, f"servers[{index}].headers[{position}] of {server.id}", config.revision
            )
            for position, header in enumerate(server.headers)
        }
        env = {
            variable.name: variable.value
            if variable.secret is None
            else secret(variable.secret, secrets, f"servers[{index}].stdio.env[{position}]", config.revision)
            for position, variable in enumerate(server.stdio.env if server.stdio else ())
        }
        resolved[server.id] = ResolvedServer(
            server,
            headers,
            {k: v or "" for k, v in env.items()},
            _key(server, server.identity, secrets, f"servers[{index}].identity", config.revision),
            egress,
            logs_key=_key(
                server,
                server.logs.key if server.logs is not None else None,
                secrets,
                f"servers[{index}].logs.key",
                config.revision,
            ),
        )
    return resolved


def authenticator(config: ProxyConfig, secrets: Mapping[str, str]) -> Authenticator | None:
    """Who may call, or None where everybody may. Raises SecretMissing, ConfigRejected."""
    if config.auth is None:
        return None
    keys = {
        key.name: secret(key.secret, secrets, f"auth.apiKeys[{index}]", config.revision)
        for index, key in enumerate(config.auth.api_keys)
    }
    if len(keys) < len(config.auth.api_keys):
        raise ConfigRejected("auth.apiKeys: two keys have one name", config.revision)
    for index, issuer in enumerate(config.auth.jwt):
        _check_issuer(issuer, f"auth.jwt[{index}]", config.revision)
    try:
        return Authenticator(keys, anonymous=config.auth.anonymous)
    except BadKey as error:
        raise ConfigRejected(f"auth.apiKeys: {error}", config.revision) from None


def _check_issuer(issuer: JwtIssuer, path: str, revision: str) -> None:
    installed(path, ("joserfc",), revision)
    if issuer.jwks_url is None and not re.match(r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", issuer.issuer):
        raise ConfigRejected(f"{path}: issuer is no URL whose metadata could be fetched; give it jwksUrl", revision)
    try:
        if issuer.ca_bundle is not None:
            ssl_context(issuer.ca_bundle)
    except BadCABundle as error:
        raise ConfigRejected(f"{path}.caBundle: {error}", revision) from None


def signing_keys(config: ProxyConfig, secrets: Mapping[str, str]) -> Keys | None:
    """The keys of session ids; None where the process should make one. Raises SecretMissing, ConfigRejected."""
    refs = config.sessions.signing_keys
    if not refs:
        return None
    found = [
        secret(ref, secrets, f"sessions.signingKeys[{index}]", config.revision).encode()
        for index, ref in enumerate(refs)
    ]
    try:
        return Keys(tuple(found))
    except ValueError as error:
        raise ConfigRejected(f"sessions.signingKeys: {error}", config.revision) from None


def secret(ref: SecretRef, secrets: Mapping[str, str], path: str, revision: str) -> str:
    """The content of a secret file. Raises SecretMissing."""
    value = secrets.get(ref.file)
    if value is None:
        raise SecretMissing(f"{path}: there is no secret file {ref.file}", revision)
    return value


def _key(server: Server, ref: SecretRef | None, secrets: Mapping[str, str], path: str, revision: str) -> str | None:
    if ref is None:
        return None
    key = secret(ref, secrets, path, revision)
    if len(key) < LEAST_KEY:
        raise ConfigRejected(f"{path} of {server.id}: a key has at least {LEAST_KEY} characters", revision)
    return key


def header_value(header: Header, secrets: Mapping[str, str], path: str, revision: str) -> str:
    """What is sent as a header. Raises SecretMissing, and ConfigRejected where it cannot be."""
    if header.secret is None:
        if not _HEADER_VALUE.match(header.value or ""):
            raise ConfigRejected(f"{path}: its value has characters that no HTTP header can carry", revision)
        return header.value or ""
    value = secrets.get(header.secret.file)
    if value is None:
        raise SecretMissing(
            f"{path}: there is no secret file {header.secret.file} for header {header.name}",
            revision,
        )
    if not _HEADER_VALUE.match(value):
        raise ConfigRejected(
            f"{path}: the content of the secret file {header.secret.file} cannot be an HTTP header value"
            " (one line of text is needed)",
            revision,
        )
    return value
