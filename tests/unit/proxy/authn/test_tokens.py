"""Which tokens are believed: signature, times, issuer, audience, name and scopes, each wrong for itself. Pure."""

import base64
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from mcp_operator_proxy.authn.jwks import FetchFailed, jwks_url, metadata_urls, read_keys
from mcp_operator_proxy.authn.tokens import (
    InsufficientScope,
    TokenRefused,
    UnknownKey,
    glance,
    scopes_of,
    verify,
)
from mcp_operator_proxy.config import JwtIssuer
from support.issuer import make_key, sign

NOW = 1_800_000_000.0
ISSUER = "https://id.test/realm"
KEYS = {name: make_key(name, name) for name in ("ES256", "ES384", "RS256", "EdDSA")}
KEYS["PS256"] = RSAKey.import_key({**KEYS["RS256"].as_dict(private=True), "kid": "PS256", "alg": "PS256"})
OTHER = make_key("ES256")


def issuer(**more: Any) -> JwtIssuer:
    return JwtIssuer.model_validate(
        {"name": "corp", "issuer": ISSUER, "audiences": ["gw", "gw2"], "algorithms": sorted(KEYS), **more}
    )


def claims(**more: Any) -> dict[str, Any]:
    said = {"iss": ISSUER, "aud": "gw", "sub": "alice", "exp": NOW + 60, **more}
    return {key: value for key, value in said.items() if value is not None}


def verdict(token: str, wanted: JwtIssuer | None = None) -> str:
    """The caller's name, or why there is none."""
    seen = glance(token.encode())
    if seen is None:
        return "no token"
    try:
        return verify(token.encode(), seen, wanted or issuer(), KEYS.values(), NOW).name
    except UnknownKey:
        return "unknown key"
    except TokenRefused as error:
        return str(error).replace(token or "-", "THE TOKEN ITSELF")


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_believes_what_a_key_of_the_issuer_has_signed(algorithm: str) -> None:
    assert verdict(sign(KEYS[algorithm], claims(), algorithm)) == "alice"
    assert verdict(sign(KEYS[algorithm], claims(), algorithm, kid=None)) == "alice"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"exp": None}, "the token does not say when it expires"),
        ({"exp": "soon"}, "the token does not say when it expires"),
        ({"exp": True}, "the token does not say when it expires"),
        ({"exp": NOW - 29}, "alice"),
        ({"exp": NOW - 30}, "the token has expired"),
        ({"nbf": NOW + 30}, "alice"),
        ({"nbf": NOW + 31}, "the token is not good yet"),
        ({"nbf": "now"}, "the token is not good yet"),
        ({"iss": ISSUER + "/"}, "the token is of another issuer"),
        ({"aud": None}, "the token is for another audience"),
        ({"aud": "gw3"}, "the token is for another audience"),
        ({"aud": ["x", "gw2"]}, "alice"),
        ({"aud": {"gw": 1}}, "the token is for another audience"),
        ({"sub": None}, "the token does not name its caller: its claim sub is no fitting text"),
        ({"sub": 7}, "the token does not name its caller: its claim sub is no fitting text"),
        ({"sub": ""}, "the token does not name its caller: its claim sub is no fitting text"),
        ({"sub": "a\nb"}, "the token does not name its caller: its claim sub is no fitting text"),
        ({"sub": "x" * 256}, "the token does not name its caller: its claim sub is no fitting text"),
    ],
)
def test_checks_every_claim(more: dict[str, Any], expected: str) -> None:
    assert verdict(sign(KEYS["ES256"], claims(**more))) == expected


def test_takes_the_name_from_the_claim_that_is_configured() -> None:
    token = sign(KEYS["ES256"], claims(email="a@b.c"))
    assert verdict(token, issuer(nameClaim="email")) == "a@b.c"
    seen = glance(token.encode())
    assert seen is not None
    found = verify(token.encode(), seen, issuer(), KEYS.values(), NOW)
    assert (found.key, found.expires, found.claims["email"]) == ("corp/alice", NOW + 90, "a@b.c")
    assert token not in repr(found)


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ({"scope": "read write"}, True),
        ({"scp": ["write", "read", "x"]}, True),
        ({"scope": "read", "scp": "write"}, True),
        ({"scope": "read"}, False),
        ({"scope": "readwrite"}, False),
        ({}, False),
        ({"scp": 7}, False),
    ],
)
def test_wants_all_required_scopes(said: dict[str, Any], good: bool) -> None:
    token = sign(KEYS["ES256"], claims(**said)).encode()
    seen, wanted = glance(token), issuer(requiredScopes=["read", "write"])
    assert seen is not None
    if good:
        assert verify(token, seen, wanted, KEYS.values(), NOW).name == "alice"
    else:
        with pytest.raises(InsufficientScope):
            verify(token, seen, wanted, KEYS.values(), NOW)
    assert scopes_of({"scope": " a  b "}) == {"a", "b"}


def test_refuses_other_signatures() -> None:
    good = sign(KEYS["ES256"], claims())
    head, payload, signature = good.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims(sub="root")).encode()).rstrip(b"=").decode()
    assert verdict(f"{head}.{forged}.{signature}") == "the signature of the token is wrong"
    assert verdict(f"{head}.{payload}.") == "the signature of the token is wrong"
    assert verdict(sign(OTHER, claims())) == "the signature of the token is wrong"
    assert verdict(sign(make_key("new"), claims())) == "unknown key"
    assert verdict(good, issuer(algorithms=["RS256"])) == "the token is signed by an algorithm that is not accepted"


def test_refuses_algorithms_that_are_none_or_share_a_secret() -> None:
    """RFC 8725, sections 2.1 and 3.1: `none`, and HMAC with the public key as its secret."""
    refused = "the token is signed by an algorithm that is not accepted"
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    payload = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=").decode()
    assert verdict(f"{none}.{payload}.") == refused
    secret = OctKey.import_key(KEYS["RS256"].as_dict(private=False)["n"].encode())
    assert verdict(jwt.encode({"alg": "HS256", "kid": "RS256"}, claims(), secret)) == refused


def test_refuses_a_key_of_another_kind_or_use() -> None:
    token = sign(KEYS["ES256"], claims(), kid="RS256")
    assert verdict(token) == "unknown key"
    shown = KEYS["ES256"].as_dict(private=False)
    seen = glance(sign(KEYS["ES256"], claims()).encode())
    assert seen is not None
    for wrong in ({"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["encrypt"]}):
        with pytest.raises(UnknownKey):
            verify(b"", seen, issuer(), read_keys({"keys": [{**shown, **wrong}]}), NOW)


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c", "..", "e30.e30.x", "W10.e30.x", "x" * 20_000, "a.b.c.d", "eyJhbGciOjF9.eyJpc3MiOiJ4In0.x"],
)
def test_what_is_no_token_is_no_token(token: str) -> None:
    assert verdict(token) == "no token"


def test_bytes_that_no_token_has_make_it_none() -> None:
    """They come as they were sent, and the decoder of base64 passes over them."""
    good = sign(KEYS["ES256"], claims()).encode()
    assert glance(good) is not None
    for place in (0, good.index(b".") + 1, len(good)):
        assert glance(good[:place] + b"\xff" + good[place:]) is None


def test_extensions_that_must_be_understood_are_refused() -> None:
    head = base64.urlsafe_b64encode(b'{"alg":"ES256","crit":["b64"],"b64":false}').rstrip(b"=").decode()
    assert (
        verdict(f"{head}.{base64.urlsafe_b64encode(json.dumps(claims()).encode()).decode().rstrip('=')}.x")
        == "no token"
    )


def test_passes_over_keys_that_it_cannot_use() -> None:
    good = KEYS["ES256"].as_dict(private=False)
    weak = {"kty": "RSA", "kid": "weak", "n": "u" * 128, "e": "AQAB"}
    listed = [
        7,
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        weak,
    ]
    assert [key.kid for key in read_keys({"keys": [*listed, good]})] == ["ES256"]
    private = read_keys({"keys": [KEYS["ES256"].as_dict(private=True)]})
    assert [key.is_private for key in private] == [False]
    for bad in ({}, [], {"keys": {}}, {"keys": [{}] * 257}):
        with pytest.raises(FetchFailed):
            read_keys(bad)


def test_finds_an_issuers_metadata() -> None:
    assert metadata_urls("https://id.test") == (
        "https://id.test/.well-known/oauth-authorization-server",
        "https://id.test/.well-known/openid-configuration",
    )
    assert metadata_urls("https://id.test/realms/a/") == (
        "https://id.test/.well-known/oauth-authorization-server/realms/a",
        "https://id.test/.well-known/openid-configuration/realms/a",
        "https://id.test/realms/a/.well-known/openid-configuration",
    )
    good = {"issuer": ISSUER, "jwks_uri": "https://keys.test/k"}
    assert jwks_url(good, ISSUER) == "https://keys.test/k"
    for bad in (7, {**good, "issuer": ISSUER + "/"}, {"issuer": ISSUER}, {**good, "jwks_uri": "http://keys.test/k"}):
        with pytest.raises(FetchFailed):
            jwks_url(bad, ISSUER)
