"""The proxy as a protected resource: where its metadata is, and what it says (RFC 9728; MCP authorization). Pure."""

import re
from typing import Any, Final

from starlette.types import Scope

from mcp_operator_proxy.config import Auth, ResourceMetadata

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_HOST: Final = re.compile(rb"^[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?$")


def is_resource(auth: Auth | None) -> bool:
    """Whether the configuration makes the proxy a resource of OAuth, which clients can discover."""
    return auth is not None and (bool(auth.jwt) or auth.resource_metadata is not None)


def base_of(auth: Auth, scope: Scope) -> str | None:
    """Address of the proxy as clients know it, without the MCP path; None where a request does not tell.

    The scheme is the connection's, or that which the server has taken from a proxy that it trusts.
    """
    if auth.resource_metadata is not None and auth.resource_metadata.resource is not None:
        return str(auth.resource_metadata.resource).rstrip("/")
    host: bytes = next((value for name, value in scope["headers"] if name == b"host"), b"")
    if _HOST.match(host) is None:
        return None
    return f"{scope.get('scheme', 'http')}://{host.decode()}{scope.get('root_path', '').rstrip('/')}"


def metadata_url(base: str, path: str) -> str:
    """Of the resource at `path` beneath `base`: the well-known part stands behind the host (RFC 9728, section 3.1)."""
    origin, beneath = _split(base)
    return f"{origin}{WELL_KNOWN}{beneath}{path.rstrip('/')}"


def asked_path(base: str, path: str) -> str:
    """Which path of the proxy a request for metadata at `path` means; `/` for the proxy as a whole."""
    beneath, rest = _split(base)[1], path.removeprefix(WELL_KNOWN)
    if beneath and (rest == beneath or rest.startswith(f"{beneath}/")):
        rest = rest.removeprefix(beneath)
    return rest.rstrip("/") or "/"


def document(auth: Auth, base: str, path: str) -> dict[str, Any]:
    """RFC 9728, section 2, of the resource at `path`; `/` is the proxy as a whole."""
    said = auth.resource_metadata or ResourceMetadata()
    servers = [str(url) for url in said.authorization_servers] or [issuer.issuer for issuer in auth.jwt]
    scopes = said.scopes_supported or tuple(dict.fromkeys(s for issuer in auth.jwt for s in issuer.required_scopes))
    return {
        "resource": base + path.rstrip("/"),
        **({"authorization_servers": servers} if servers else {}),
        **({"scopes_supported": list(scopes)} if scopes else {}),
        "bearer_methods_supported": ["header"],
    }


def scopes_wanted(auth: Auth) -> tuple[str, ...]:
    """What a client should ask for: what all issuers' tokens must have, else what there is."""
    required = tuple(dict.fromkeys(s for issuer in auth.jwt for s in issuer.required_scopes))
    return required or (auth.resource_metadata.scopes_supported if auth.resource_metadata else ())


def challenge(
    auth: Auth | None, base: str | None, path: str, *, error: str | None = None, description: str | None = None
) -> str:
    """The `WWW-Authenticate` header (RFC 6750, section 3; RFC 9728, section 5.1). No error where nothing was shown."""
    parts = ['realm="mcp-operator-proxy"']
    if auth is not None and is_resource(auth):
        if error is not None:
            parts.append(f'error="{error}"')
        if description is not None:
            parts.append(f'error_description="{_quotable(description)}"')
        if scopes := scopes_wanted(auth):
            parts.append(f'scope="{" ".join(scopes)}"')
        if base is not None:
            parts.append(f'resource_metadata="{metadata_url(base, path)}"')
    return "Bearer " + ", ".join(parts)


def _split(base: str) -> tuple[str, str]:
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}", slash + path


def _quotable(text: str) -> str:
    """RFC 6750, section 3: no quote, no backslash, ASCII."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
