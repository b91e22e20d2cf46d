"""An OAuth 2.1 and OpenID Connect provider over HTTP, for tests: real endpoints, signed tokens, failures on demand.

async with OAuthProvider() as provider:
    client = provider.add_client("proxy", "s3cret")
    provider.issuer       # http://127.0.0.1:PORT
    provider.fail("token", 500)
"""

from support.oauth.grants import Client, Grant, Refused
from support.oauth.provider import OAuthProvider, Seen
from support.oauth.shapes import AZURE, COGNITO, GENERIC, GOOGLE, Shape

__all__ = ["AZURE", "COGNITO", "GENERIC", "GOOGLE", "Client", "Grant", "OAuthProvider", "Refused", "Seen", "Shape"]
