"""Environment variables over the configuration of the image alone."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.envsettings import SETTINGS, BadSetting, applied, table
from mcp_operator_proxy.swap.given import Given
from mcp_operator_proxy.swap.prepared import prepare
from mcp_operator_proxy.swap.read import Snapshot
from mcp_operator_proxy.swap.validate import ConfigRejected
from support.stores import running_redis
from support.waiting import Eventually

from .backends import STDIO, calculator

KEY, API_KEY = "k" * 40, "a" * 20
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"}
SERVERS = [
    {"id": "ns/plain", "url": "http://127.0.0.1:9/mcp"},
    {"id": "ns/own", "url": "http://127.0.0.1:9/mcp", "callTimeoutSeconds": 7, "refreshSeconds": 8},
    {"id": "ns/process", "stdio": {"command": "x"}},
]


def made(
    environ: Mapping[str, str], secrets: Mapping[str, str] | None = None, **data: Any
) -> tuple[ProxyConfig, Mapping[str, str]]:
    config, found = Given(environ).of(Snapshot(json.dumps({"revision": "1", **data}).encode(), dict(secrets or {})))
    prepare(config, found, None)
    return config, found


def get(config: ProxyConfig, path: str) -> Any:
    value: Any = config.model_dump(mode="json", by_alias=True)
    for part in path.split("."):
        value = value[int(part)] if part.isdecimal() else value[part]
    return value


@pytest.mark.parametrize(
    ("environ", "path", "value"),
    [
        ({"TOOL_EXECUTION_TIMEOUT": "90s"}, "servers.0.callTimeoutSeconds", 90),
        ({"TOOL_EXECUTION_TIMEOUT": "1.5m"}, "servers.1.callTimeoutSeconds", 7),
        ({"TOOL_EXECUTION_TIMEOUT": "90", "REST_ENABLED": "true"}, "servers.2.callTimeoutSeconds", 90),
        ({"HEALTH_CHECK_INTERVAL": "15"}, "servers.0.refreshSeconds", 15),
        ({"HEALTH_CHECK_INTERVAL": "15"}, "servers.1.refreshSeconds", 8),
        ({"HEALTH_CHECK_INTERVAL": "15"}, "servers.2.stdio.pingSeconds", 15),
        ({"MAX_RESTART_ATTEMPTS": "2"}, "servers.2.stdio.maxRestarts", 2),
        (OTLP, "tracing.endpoint", "http://otel:4318/"),
        ({**OTLP, "OTEL_SERVICE_NAME": "x"}, "tracing.serviceName", "x"),
        (
            {**OTLP, "OTEL_TRACES_SAMPLER_ARG": "0.5"},
            "tracing.sampleRatio",
            0.5,
        ),
        (
            {**OTLP, "OTEL_EXPORTER_OTLP_HEADERS": "a=b, c=d%20e"},
            "tracing.headers.1.secret.file",
            "environment-otel-exporter-otlp-headers-1",
        ),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER_ARG": "nonsense"}, "tracing", None),
        ({"REST_ENABLED": "true"}, "rest.prefix", ""),
        ({"INSPECTOR": "true"}, "inspector.traffic", True),
        ({"INSPECTOR": "on", "INSPECTOR_OPERATORS": "ops, bob"}, "inspector.operators", ["ops", "bob"]),
        ({"INSPECTOR_OPERATORS": "ops"}, "inspector", None),
        ({"REST_ENABLED": "1", "REST_PREFIX": "/api", "REST_OPERATORS": "ops, bob"}, "rest.operators", ["ops", "bob"]),
        ({"REST_ENABLED": "no"}, "rest", None),
        ({"CORS_ORIGINS": "https://a.example,https://b.example"}, "allowedOrigins", ["https://a.example", "https://b.example"]),
        ({"ALLOWED_HOSTS": "a.example"}, "allowedHosts", ["a.example"]),
        ({"SESSION_TTL": "8h"}, "users.ttlSeconds", 28800),
        ({"SESSION_IDLE_TIMEOUT": "10m"}, "users.idleSeconds", 600),
        ({"USER_APPLICATIONS": "app"}, "users.applications", ["app"]),
        ({"API_KEYS": f"bob={API_KEY}"}, "auth.apiKeys.0.name", "bob"),
        ({"JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "a,b"}, "auth.jwt.0.audiences", ["a", "b"]),
        ({"JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "a"}, "users.issuer", "jwt"),
        (
            {"JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "a", "JWT_JWKS_URL": "https://id.example/keys"},
            "auth.jwt.0.jwksUrl",
            "https://id.example/keys",
        ),
        ({"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s"}, "providers.0.tenant", "t"),
        (
            {"COGNITO_REGION": "eu-west-1", "COGNITO_USER_POOL_ID": "p", "COGNITO_CLIENT_ID": "c", "COGNITO_CLIENT_SECRET": "s"},
            "providers.0.userPool",
            "p",
        ),
        ({"GOOGLE_CLIENT_ID": "c", "GOOGLE_CLIENT_SECRET": "s"}, "providers.0.name", "google"),
    ],
)  # fmt: skip
def test_what_variables_set(environ: dict[str, str], path: str, value: object) -> None:
    config, _ = made(environ, servers=SERVERS)
    assert get(config, path) == value


def test_the_environment_wins() -> None:
    environ = {"SESSION_TTL": "60", "REST_ENABLED": "false", "ALLOWED_HOSTS": "  "}
    config, _ = made(environ, users={"ttlSeconds": 5, "idleSeconds": 6}, rest={}, allowedHosts=["file.example"])
    assert (config.users.ttl_seconds, config.users.idle_seconds, config.rest) == (60, 6, None)
    assert config.allowed_hosts == ("file.example",)  # an empty variable says nothing


def test_secrets_stand_among_the_secrets() -> None:
    environ = {
        "REDIS_URL": "redis://:hunter2@x/0",
        "DATABASE_URL": "postgresql://u:hunter2@x/d",
        "ENCRYPTION_KEYS": f"{KEY},{KEY}2",
        "API_KEYS": f"bob={API_KEY},alice={API_KEY}2",
        "GOOGLE_CLIENT_ID": "c",
        "GOOGLE_CLIENT_SECRET": "hunter2",
    }
    file = [{"name": "bob", "secret": {"file": "old"}}, {"name": "carol", "secret": {"file": "carol"}}]
    config, secrets = made(environ, {"old": "o" * 20, "carol": "c" * 20}, auth={"apiKeys": file})
    text = config.model_dump_json()
    for secret in ("hunter2", KEY, API_KEY):
        assert secret not in text
    assert config.auth is not None
    keys = {key.name: secrets[key.secret.file] for key in config.auth.api_keys}
    assert keys == {"carol": "c" * 20, "bob": API_KEY, "alice": f"{API_KEY}2"}
    assert config.stores.redis is not None
    assert secrets[config.stores.redis.file] == environ["REDIS_URL"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SESSION_TTL": "hunter2"}, "SESSION_TTL: must be a positive number of seconds"),
        ({"SESSION_TTL": "0"}, "SESSION_TTL: must be a positive number of seconds"),
        ({"MAX_RESTART_ATTEMPTS": "-1"}, "MAX_RESTART_ATTEMPTS: must be a whole number"),
        ({**OTLP, "OTEL_TRACES_SAMPLER_ARG": "hunter2"}, "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_HEADERS": "hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS: must be NAME=VALUE"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "hunter2:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with https://"),
        ({"REST_ENABLED": "hunter2"}, "REST_ENABLED: must be true or false"),
        ({"CORS_ORIGINS": "a,,b"}, "CORS_ORIGINS: must be a list by commas"),
        ({"REDIS_URL": "http://hunter2"}, "REDIS_URL: must begin with redis://"),
        ({"DATABASE_URL": "mysql://hunter2"}, "DATABASE_URL: must begin with postgresql://"),
        ({"ENCRYPTION_KEYS": "hunter2"}, "ENCRYPTION_KEYS: encryption key 1 has fewer than 32 characters"),
        ({"API_KEYS": "hunter2hunter2hunter2"}, "API_KEYS: must be NAME=KEY"),
        ({"API_KEYS": "bob=hunter2"}, "API_KEYS: the key of bob must be at least 16"),
        ({"JWT_ISSUER": "https://hunter2"}, "JWT_ISSUER: a token is for somebody: set JWT_AUDIENCE too"),
        ({"JWT_AUDIENCE": "hunter2"}, "JWT_AUDIENCE: means nothing without JWT_ISSUER"),
        ({"AZURE_TENANT_ID": "hunter2"}, "AZURE_CLIENT_ID: is needed"),
        ({"COGNITO_CLIENT_SECRET": "hunter2"}, "COGNITO_CLIENT_SECRET: means nothing without COGNITO_REGION"),
        ({"MCP_SERVERS": "hunter2"}, "MCP_SERVERS: must be a JSON object"),
    ],
)
def test_bad_values_are_named_and_not_shown(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BadSetting, match=re.escape(message)) as raised:
        Given(environ).check()
    assert "hunter2" not in str(raised.value)
    with pytest.raises(ConfigRejected, match=re.escape(message)):
        made(environ)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"REDIS_URL": "redis://x"}, "REDIS_URL: what outlives the process is encrypted: set ENCRYPTION_KEYS too"),
        ({"MAX_RESTART_ATTEMPTS": "5000"}, "MAX_RESTART_ATTEMPTS: servers[2].stdio.maxRestarts: must be at most 1000"),
        ({"REST_ENABLED": "1", "REST_PREFIX": "hunter 2"}, "REST_PREFIX: rest.prefix: must match the pattern"),
        ({"AZURE_TENANT_ID": "hunter 2", "AZURE_CLIENT_ID": "c"}, "AZURE_TENANT_ID: providers[0].tenant"),
    ],
)
def test_what_only_the_whole_shows_names_the_variable_too(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigRejected, match=re.escape(message)) as raised:
        made(environ, servers=SERVERS)
    assert "hunter" not in str(raised.value)


def test_nothing_is_touched_without_a_variable() -> None:
    data = {"revision": "1", "servers": SERVERS}
    assert applied({"PATH": "/bin", "PORT": "1"}, data).data == data
    config, _ = made({}, servers=SERVERS)
    assert config == ProxyConfig.model_validate(data)


def test_the_servers_of_a_desktop_client() -> None:
    document = {
        "mcpServers": {"calc": {"url": "http://127.0.0.1:9/mcp"}, "slow": {"command": "x", "timeoutSeconds": 9}}
    }
    given = Given({"TOOL_EXECUTION_TIMEOUT": "20", "REST_ENABLED": "true", "TOKEN": "t"})
    config, _ = given.of(Snapshot(json.dumps(document).encode(), {}))
    assert [(s.id.partition("/")[2], s.call_timeout_seconds) for s in config.servers] == [("calc", 20), ("slow", 9)]
    assert config.routes[0].path == "/mcp"
    assert config.rest is not None
    assert config.revision == given.of(Snapshot(json.dumps(document).encode(), {}))[0].revision
    with pytest.raises(ConfigRejected, match=r"mcpServers\.calc"):
        given.of(Snapshot(b'{"mcpServers": {"calc": {"url": 3}}}', {}))


def test_a_file_needs_no_revision() -> None:
    config, _ = Given().of(Snapshot(json.dumps({"servers": SERVERS}).encode(), {}))
    assert re.fullmatch(r"[0-9a-z]{16}", config.revision)


def test_the_table_of_the_page_is_that_of_the_settings() -> None:
    page = (Path(__file__).parents[4] / "docs" / "rest.md").read_text()
    assert table() in page, "paste what mcp_operator_proxy.envsettings.table() returns"
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


@contextlib.asynccontextmanager
async def serving(folder: Path, **environ: str) -> AsyncIterator[str]:
    """`mcp-operator-proxy serve` as a process with these variables; yields its address."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "PYTHONPATH", "TMPDIR"}}
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_operator_proxy.cli", "serve", "--config-dir", str(folder)),
        env={**kept, "HOST": "127.0.0.1", "PORT": "0", **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            with contextlib.suppress(ValueError):
                if (event := json.loads(line)).get("message") == "serving":
                    break
        else:
            raise AssertionError(f"it ended with {await process.wait()}")
        draining = asyncio.create_task(process.stderr.read())
        yield f"http://127.0.0.1:{event['port']}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        with contextlib.suppress(UnboundLocalError):
            await draining


async def test_the_program_with_nothing_but_its_environment(tmp_path: Path, eventually: Eventually) -> None:
    with running_redis() as redis:
        async with calculator() as served:
            servers = {"calc": {"url": served.url}, "noisy": STDIO}
            environ = {
                "MCP_SERVERS": json.dumps({"mcpServers": servers}),
                "REST_ENABLED": "true",
                "REDIS_URL": redis.url,
                "ENCRYPTION_KEYS": KEY,
                "API_KEYS": f"bob={API_KEY}",
                "LOG_LEVEL": "info",
            }
            async with serving(tmp_path / "nothing", **environ) as base, httpx2.AsyncClient(timeout=30) as http:

                async def healthy() -> bool:
                    with contextlib.suppress(ValueError):
                        body = (await http.get(f"{base}/health")).json()
                        return (body.get("status"), body.get("redis")) == ("healthy", "up")
                    return False

                await eventually(healthy, within=60)
                body = {"tool_id": "calc.add", "parameters": {"a": 1, "b": 2}}
                assert (await http.post(f"{base}/tools/call", json=body)).status_code == 401
                answer = await http.post(f"{base}/tools/call", json=body, headers={"x-api-key": API_KEY})
                assert answer.json()["result"]["structuredContent"] == {"result": 3}


async def test_a_bad_variable_ends_the_program_at_once(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_operator_proxy.cli", "serve", "--config-dir", str(tmp_path)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "SESSION_TTL": "hunter2"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"SESSION_TTL: must be a positive number" in said
    assert b"hunter2" not in said
