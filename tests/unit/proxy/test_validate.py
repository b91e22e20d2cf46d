import json
import sys
from typing import Any

import pytest

from mcp_operator_proxy.swap.prepared import prepare
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing, parse, resolve


def config(**server: Any) -> dict[str, Any]:
    return {
        "revision": "r1",
        "servers": [{"id": "ns/a", "url": "http://a/mcp", **server}],
        "routes": [{"name": "McpProxy/ns/p", "path": "/mcp", "servers": [{"server": "ns/a", "prefix": "a"}]}],
    }


def text(data: Any) -> bytes:
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("content", "message", "revision"),
    [
        (b"", "config.json is not JSON (line 1, column 1)", None),
        (b'{"revision":', "config.json is not JSON (line 1, column 13)", None),
        (b"\xff\xfe\x00", "config.json is not JSON", None),
        (b"[" * 100_000, "config.json is not JSON", None),
        (b"[]", "config.json must hold a JSON object", None),
        (b"{}", "revision: required", None),
        (text({"revision": "R!"}), "revision: must be 1 to 64 lower-case letters and digits", None),
        (text({**config(), "extra": 1}), "extra: unknown field", "r1"),
        (text(config(url="ftp://a")), "servers[0].url: must be a URL with the scheme 'http' or 'https'", "r1"),
        (text(config(url="")), "servers[0].url: is not a URL: input is empty", "r1"),
        (text(config(callTimeoutSeconds=0)), "servers[0].callTimeoutSeconds: must be greater than 0", "r1"),
        (
            text(config(transport="carrier-pigeon")),
            "servers[0].transport: must be 'auto', 'streamable-http' or 'sse'",
            "r1",
        ),
        (
            text(config(headers=[{"name": "X", "value": "a\nb"}])),
            "servers[0].headers[0].value: must be one line of text",
            "r1",
        ),
        (
            text(config(headers=[{"name": "X"}])),
            "servers[0].headers[0]: a header has exactly one of value and secret",
            "r1",
        ),
        (
            text(config(headers=[{"name": "X", "secret": {"file": "../x"}}])),
            "servers[0].headers[0].secret.file: must be a plain file name",
            "r1",
        ),
        (text(config(headers=[{"name": "X", "secret": {"file": ".."}}])), "a secret file is a plain file name", "r1"),
        (text({**config(), "routes": [{"name": "n", "path": "/status"}]}), "path /status is the proxy's own", "r1"),
        (text({**config(), "servers": []}), "names server ns/a, which is not defined", "r1"),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, bytes) else None,
)
def test_refused(content: bytes, message: str, revision: str | None) -> None:
    with pytest.raises(ConfigRejected) as caught:
        parse(content)
    assert message.lower() in str(caught.value).lower()
    assert caught.value.revision == revision
    assert "pydantic" not in str(caught.value)
    assert "http" not in str(caught.value).replace("'http' or 'https'", "").replace("streamable-http", "").lower()


def test_values_are_not_repeated() -> None:
    with pytest.raises(ConfigRejected) as caught:
        parse(text(config(headers=[{"name": "X", "value": ["hunter2-hunter2"]}])))
    assert "hunter2" not in str(caught.value)


def test_many_problems_are_cut_short() -> None:
    data = config()
    data["servers"] = [{"id": "ns/a"}] * 9
    with pytest.raises(ConfigRejected, match="and 4 more"):
        parse(text(data))


def test_secrets_fill_the_headers() -> None:
    parsed = parse(
        text(config(headers=[{"name": "Authorization", "secret": {"file": "tok"}}, {"name": "X", "value": "1"}]))
    )
    resolved = resolve(parsed, {"tok": "Bearer abc"})["ns/a"]
    assert resolved.headers == {"Authorization": "Bearer abc", "X": "1"}
    assert "abc" not in repr(resolved)
    assert "abc" not in repr(resolved.target())


def test_a_missing_secret_is_named() -> None:
    parsed = parse(text(config(headers=[{"name": "Authorization", "secret": {"file": "tok"}}])))
    with pytest.raises(
        SecretMissing, match=r"servers\[0\]\.headers\[0\] of ns/a: there is no secret file tok for header Authorization"
    ):
        resolve(parsed, {})


@pytest.mark.parametrize("value", ["two\nlines", "null\x00", "euro €"])
def test_a_secret_that_is_no_header_value(value: str) -> None:
    parsed = parse(text(config(headers=[{"name": "Authorization", "secret": {"file": "tok"}}])))
    with pytest.raises(ConfigRejected, match="cannot be an HTTP header value") as caught:
        resolve(parsed, {"tok": value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_ca_bundle_that_is_none(pem: str) -> None:
    with pytest.raises(ConfigRejected, match=r"servers\[0\]\.caBundle of ns/a: not a bundle of PEM certificates"):
        resolve(parse(text(config(caBundle=pem, url="https://a/mcp"))), {})


ISSUER = {"name": "corp", "issuer": "https://login.example.com", "audiences": ["gateway"]}


@pytest.mark.parametrize(
    ("module", "wanted", "message"),
    [
        ("swagger_ui_bundle", {"rest": {}}, "rest: it needs mcp-operator[gateway]"),
        ("fastapi", {"inspector": {}}, "inspector: it needs mcp-operator[gateway]"),
        ("cedarpy", {"authorization": {"policies": "permit(principal, action, resource);"}}, "authorization: it needs"),
        ("joserfc", {"auth": {"jwt": [ISSUER]}}, "auth.jwt[0]: it needs mcp-operator[gateway]"),
        ("authlib", {"providers": [{"name": "g", "kind": "google", "clientId": "c"}]}, "credentials: it needs"),
        ("bm25s", {"search": {"embedder": "none"}, "rest": {}}, "search: it needs mcp-operator[gateway]"),
        (
            "pymilvus",
            {"search": {"embedder": "wordllama", "milvus": {"file": "m"}}, "rest": {}},
            "search.milvus: it needs mcp-operator[milvus]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_what_needs_a_library_that_is_not_installed(
    module: str, wanted: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = parse(text({**config(), **wanted}))
    assert prepare(parsed, {"m": "http://127.0.0.1:1"}, None)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed (importlib.util.find_spec)
    with pytest.raises(ConfigRejected) as caught:
        prepare(parsed, {"m": "http://127.0.0.1:1"}, None)
    assert str(caught.value).startswith(message)
    assert f"of which {module} is not installed" in str(caught.value)
    assert caught.value.revision == "r1"
