"""What a proxy shows to servers, and the providers of users' tokens: from the resources to its configuration."""

from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import ValidationError

from mcp_operator.api import credentials as api
from mcp_operator.api.resources import McpProxy, McpServer, describe
from mcp_operator.compile.lookup import Fields
from mcp_operator.compile.problems import Problem
from mcp_operator_proxy import config

_AUTHENTICATION: Final = {"Basic": "basic", "Post": "post", "None": "none"}
FIELD: Final = "spec.credential"


def credential(wanted: api.Credential | None, fields: Fields) -> config.Credential | None:
    """The credential of a server; None where it has none, or it can't be had, which `fields` then tells."""
    if wanted is None:
        return None
    [(kind, said)] = wanted.said
    where = f"{FIELD}.{kind}"
    before = len(fields.problems)
    body: dict[str, object] = {"kind": kind}
    if wanted.endpoint is not None:
        body["endpoint"] = _endpoint(wanted.endpoint, f"{where}.endpoint", fields)
    for name in ("scopes", "resource", "audience", "provider"):
        if hasattr(said, name):
            body[name] = getattr(said, name)
    if isinstance(said, api.TokenExchange):
        body["subject"] = said.subject.lower()
    if len(fields.problems) > before:
        return None
    try:
        return _CREDENTIALS[kind].model_validate(body)
    except ValidationError as error:
        fields.tell("InvalidValue", f"{where}: {describe(error)}")
        return None


_CREDENTIALS: Final[dict[str, type[config.Credential]]] = {
    "clientCredentials": config.ClientCredentials,
    "tokenExchange": config.TokenExchange,
    "userToken": config.UserToken,
    "authorizationCode": config.AuthorizationCode,
}


def _endpoint(wanted: api.TokenEndpoint, where: str, fields: Fields) -> dict[str, object]:
    secret = wanted.client_secret
    return {
        "url": wanted.url,
        "issuer": wanted.issuer,
        "client_id": wanted.client_id,
        "client_secret": fields.file(f"{where}.clientSecret", secret) if secret else None,
        "authentication": _AUTHENTICATION[wanted.authentication],
        "ca_bundle": fields.bundle(f"{where}.caBundle", wanted.ca_bundle) if wanted.ca_bundle else None,
    }


def providers(wanted: Iterable[api.Provider], fields: Fields) -> Iterator[config.Provider]:
    """The providers that can be had; of the others `fields` tells."""
    for provider in wanted:
        where, before = f"spec.providers[{provider.name}]", len(fields.problems)
        secret = fields.file(f"{where}.clientSecret", provider.client_secret) if provider.client_secret else None
        bundle = fields.bundle(f"{where}.caBundle", provider.ca_bundle) if provider.ca_bundle else None
        if len(fields.problems) > before:
            continue
        try:
            yield config.Provider.model_validate(
                {
                    "name": provider.name,
                    "kind": provider.kind.lower(),
                    "issuer": provider.issuer,
                    "tenant": provider.tenant,
                    "region": provider.region,
                    "user_pool": provider.user_pool,
                    "client_id": provider.client_id,
                    "client_secret": secret,
                    "scopes": provider.scopes,
                    "authority": provider.authority,
                    "ca_bundle": bundle,
                }
            )
        except ValidationError as error:
            fields.tell("InvalidValue", f"{where}: {describe(error)}")


def unfit(server: McpServer, proxy: McpProxy, known: Iterable[str]) -> Problem | None:
    """Why the proxy can't serve a server of users, if so. `known` are the names of the providers that it has."""
    spec, where = server.spec, f"McpServer {server.id}"
    access = proxy.spec.authentication
    knows_callers = access is not None and bool(access.api_keys or access.api_key_secrets or access.jwt)
    if spec.of_users and not knows_callers and proxy.spec.rest is None:
        why = (
            "a process for each user (isolation: user)"
            if spec.isolation == "user"
            else "a part of an own for each user"
        )
        return Problem(
            "UnsupportedValue",
            f"{where} has {why}, and this proxy does not authenticate its callers; set spec.authentication of it",
        )
    if spec.credential is None:
        return None
    provider = spec.credential.provider
    if provider is not None and provider not in known:
        return Problem(
            "RefNotFound",
            f"{where} needs the provider {provider} (spec.credential), which spec.providers does not give",
        )
    exchange = spec.credential.token_exchange
    if exchange is not None and exchange.subject == "Caller" and not (access is not None and access.jwt):
        return Problem(
            "UnsupportedValue",
            f"{where} exchanges the token of its caller, and this proxy takes none (spec.authentication.jwt)",
        )
    return None
