"""Every wrong field of a server gets words that say where it is and what would be right."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import ConfigRejected, parse, resolve
from mcp_operator_proxy.swap.words import _PATTERNS

URL = {"url": "http://a/mcp"}


def remote(**more: Any) -> dict[str, Any]:
    return {**URL, **more}


def stdio(**more: Any) -> dict[str, Any]:
    return {"stdio": {"command": "x", **more}}


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({}, "servers[0]: server ns/s has neither url nor stdio; it needs exactly one of them"),
        (remote(**stdio()), "servers[0]: server ns/s has both url and stdio; it needs exactly one of them"),
        ({"url": "ftp://a"}, "servers[0].url: must be a URL with the scheme 'http' or 'https'"),
        ({"url": "a/mcp"}, "servers[0].url: is not a URL: relative URL without a base"),
        ({"url": 7}, "servers[0].url: must be a URL"),
        ({"url": "http://a:99999/"}, "servers[0].url: is not a URL: invalid port number"),
        ({"url": "http://ann:s3cret@a/mcp"}, "server ns/s has credentials in its url: send them in a header"),
        (remote(transport="websocket"), "servers[0].transport: must be 'auto', 'streamable-http' or 'sse'"),
        (remote(headers={"A": "s3cret"}), "servers[0].headers: must be a list"),
        (remote(headers=[{"name": "A"}]), "servers[0].headers[0]: a header has exactly one of value and secret"),
        (
            remote(headers=[{"name": "A B", "value": "s3cret"}]),
            "servers[0].headers[0].name: must be the name of an HTTP",
        ),
        (remote(headers=[{"name": "A", "value": "s3cret\n"}]), "servers[0].headers[0].value: must be one line of text"),
        (
            remote(headers=[{"name": "A", "value": "s3cret€"}]),
            "servers[0].headers[0] of ns/s: its value has characters",
        ),
        (
            remote(headers=[{"name": "A", "value": "s3cret"}, {"name": "a", "value": "s3cret"}]),
            "server ns/s sets the header a twice",
        ),
        (
            remote(headers=[{"name": "A", "secret": {"file": "../x"}}]),
            "headers[0].secret.file: must be a plain file name",
        ),
        (remote(caBundle="s3cret"), "servers[0].caBundle of ns/s: not a bundle of PEM certificates"),
        (remote(http2="maybe"), "servers[0].http2: must be true or false"),
        (remote(connectTimeoutSeconds=0), "servers[0].connectTimeoutSeconds: must be greater than 0"),
        (remote(callTimeoutSeconds="soon"), "servers[0].callTimeoutSeconds: must be a number"),
        (remote(callTimeoutSeconds=1e9), "servers[0].callTimeoutSeconds: must be at most 86400"),
        (remote(retry={"attempts": 0}), "servers[0].retry.attempts: must be at least 1"),
        (remote(retry={"tries": 2}), "servers[0].retry.tries: unknown field"),
        (remote(maxConcurrency=1.5), "servers[0].maxConcurrency: must be a whole number"),
        (remote(circuitBreaker={"failures": 0}), "servers[0].circuitBreaker.failures: must be at least 1"),
        (remote(tools=[{}]), "servers[0].tools[0].name: required"),
        (remote(tools=[{"name": ""}]), "servers[0].tools[0].name: must not be empty"),
        (remote(command="x"), "servers[0].command: unknown field"),
        (remote(id="nonamespace"), "servers[0].id: must be namespace/name"),
        ({"stdio": {}}, "servers[0].stdio.command: required"),
        ({"stdio": "npx"}, "servers[0].stdio: must be an object"),
        (stdio(command=""), "servers[0].stdio.command: must not be empty"),
        (stdio(command=["npx"]), "servers[0].stdio.command: must be text"),
        (stdio(args="a b"), "servers[0].stdio.args: must be a list"),
        (stdio(args=["a\0b"]), "servers[0].stdio.args[0]: must hold no NUL character"),
        (stdio(cwd=""), "servers[0].stdio.cwd: must not be empty"),
        (stdio(env={"A": "s3cret"}), "servers[0].stdio.env: must be a list"),
        (stdio(env=[{"name": "A"}]), "env[0]: an environment variable has exactly one of value and secret"),
        (stdio(env=[{"name": "1A", "value": "s3cret"}]), "env[0].name: must be letters, digits and '_', not beginning"),
        (stdio(env=[{"name": "A", "value": "s3cret"}] * 2), "servers[0].stdio: env sets A twice"),
        (stdio(isolation="process"), "servers[0].stdio.isolation: must be 'shared', 'session' or 'user'"),
        (stdio(start="now"), "servers[0].stdio.start: must be 'eager' or 'lazy'"),
        (stdio(idleSeconds=0), "servers[0].stdio.idleSeconds: must be greater than 0"),
        (stdio(maxRestarts="many"), "servers[0].stdio.maxRestarts: must be a whole number"),
        ({**stdio(), "transport": "sse"}, "server ns/s runs over stdio: transport can be set only for a url"),
        ({**stdio(), "headers": [{"name": "A", "value": "b"}]}, "runs over stdio: headers can be set only for a url"),
        ({**stdio(), "caBundle": "x"}, "runs over stdio: caBundle can be set only for a url"),
        ({**stdio(), "http2": True}, "runs over stdio: http2 can be set only for a url"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_wrong_field(server: dict[str, Any], words: str) -> None:
    text = json.dumps({"revision": "r", "servers": [{"id": "ns/s", **server}]}).encode()
    with pytest.raises(ConfigRejected) as caught:
        resolve(parse(text), {})
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.revision == "r"


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns(value)


def test_every_pattern_of_a_server_has_words() -> None:
    definitions = ProxyConfig.model_json_schema()["$defs"]
    of_servers = [definitions[name] for name in ("Server", "Stdio", "Header", "EnvVar", "SecretRef", "ToolSettings")]
    assert set(patterns(of_servers)) <= set(_PATTERNS)
