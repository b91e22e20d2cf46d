"""Identity providers at which users have tokens: how one is renewed. Azure by `msal`, the others by their metadata and Authlib."""

import asyncio
import logging
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx2
import msal
from msal.exceptions import MsalServiceError

from mcp_operator_proxy.backends.classify import classify
from mcp_operator_proxy.backends.http import ssl_context
from mcp_operator_proxy.backends.network import allowed
from mcp_operator_proxy.services.credentials.grants import GrantFailed, GrantRefused, Grants, token_of
from mcp_operator_proxy.services.credentials.settings import ProviderSettings
from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.services.credentials.web import SECONDS

logging.getLogger("msal").setLevel(logging.CRITICAL)  # it logs answers that it does not understand, whole
_OWN: Final = frozenset({"openid", "profile", "offline_access"})
"""Scopes that msal asks for itself, and refuses to be given."""


class IdentityProvider(Protocol):
    async def refresh(self, token: Token) -> Token:
        """Raises GrantRefused, GrantFailed."""
        ...


class MetadataProvider:
    """One whose metadata say all that there is to know: Cognito, Google, and any OpenID Connect issuer."""

    def __init__(self, settings: ProviderSettings, grants: Grants) -> None:
        self._settings = settings
        self._grants = grants

    async def refresh(self, token: Token) -> Token:
        return await self._grants.refresh(self._settings.endpoint, token, address=self._settings.address)


class AzureProvider:
    """Microsoft Entra ID. Nothing is kept between two calls: the vault keeps the tokens."""

    def __init__(self, settings: ProviderSettings, grants: Grants) -> None:
        self._settings = settings
        self._now = grants.now
        self._egress = grants.web.egress

    async def refresh(self, token: Token) -> Token:
        try:
            if self._egress is not None:  # msal connects by itself, to this host alone
                where = urlsplit(self._settings.address)
                await allowed(self._egress, where.hostname or "", where.port or 443)
            answer = await asyncio.to_thread(self._asked, token)
        except (httpx2.HTTPError, OSError) as error:
            raise GrantFailed(f"its token endpoint cannot be asked ({classify(error).error_class})") from None
        except MsalServiceError:
            raise GrantFailed("its token endpoint answered with a server error") from None
        except ValueError:
            raise GrantFailed("its token endpoint does not answer with a token") from None
        if "error" in answer:
            code = str(answer["error"])
            raise GrantRefused(code if code.replace("_", "").isalpha() and len(code) <= 64 else "an error")
        return token_of(answer, self._now(), token)

    def _asked(self, token: Token) -> dict[str, Any]:
        settings, endpoint = self._settings, self._settings.endpoint
        known: dict[str, Any] = {
            "authority": settings.address,
            "instance_discovery": False,  # it would tell Microsoft's public cloud of a sovereign one
            "validate_authority": False,
            "token_cache": _NoCache(),
        }
        wanted = [scope for scope in (settings.scopes or token.scopes) if scope not in _OWN]
        with httpx2.Client(verify=ssl_context(endpoint.ca_bundle), timeout=SECONDS, trust_env=False) as http:
            app: Any
            if endpoint.client_secret is None:
                app = msal.PublicClientApplication(endpoint.client_id, http_client=http, **known)
            else:
                app = msal.ConfidentialClientApplication(
                    endpoint.client_id, client_credential=endpoint.client_secret, http_client=http, **known
                )
            answer: dict[str, Any] = app.acquire_token_by_refresh_token(token.refresh_token, scopes=wanted)
        return answer


class _NoCache(msal.TokenCache):  # type: ignore[misc]  # msal has no types
    """It would keep the tokens of all users together."""

    def add(self, *_: Any, **__: Any) -> None: ...


def identity_provider(settings: ProviderSettings, grants: Grants) -> IdentityProvider:
    return AzureProvider(settings, grants) if settings.kind == "azure" else MetadataProvider(settings, grants)
