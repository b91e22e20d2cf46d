"""Other gateways, each from the package index in an environment of its own, set up as its documentation recommends for speed.

The environments are kept in the cache folder (`$XDG_CACHE_HOME/mcp-operator/bench/PEER`). A peer's process sees none of this
process's environment but PATH, and a home folder of its own. docs/benchmarks.md says what each setting is for.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from bench.procs import NotReady, Process, free_port, get, running
from bench.targets import Endpoint, Target
from bench.wire import TOOL, Era

VERSIONS: Final = {
    "mcp-proxy": "mcp-proxy==0.13.0",
    "mcp-contextforge-gateway": "mcp-contextforge-gateway==1.0.7.post20260921",
    "litellm": "litellm[proxy]==1.101.0",
}
BEFORE: Final = "2026-11-10"
"""Their dependencies are those of that day."""
INSTALL_SECONDS: Final = 600.0
START_SECONDS: Final = 180.0


def environment(name: str) -> Path:
    """The `bin` folder of a peer's environment, installed when it is not there yet. Raises NotReady."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-operator" / "bench" / name
    marker, wanted = cache / "installed", f"{VERSIONS[name]} before {BEFORE}"
    if not marker.exists() or marker.read_text() != wanted:
        uv = Path(sys.executable).parent / "uv"
        venv = cache / "venv"
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv],
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--python",
                venv / "bin" / "python",
                "--exclude-newer",
                BEFORE,
                VERSIONS[name],
            ],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                raise NotReady(f"{VERSIONS[name]} was not installed within {INSTALL_SECONDS:g} s") from None
            if done.returncode:
                raise NotReady(f"{VERSIONS[name]} cannot be installed: {done.stderr[-300:]}")
        marker.write_text(wanted)
    return cache / "venv" / "bin"


def _env(folder: Path, bins: Path, **more: str) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": f"{bins}:{os.environ.get('PATH', '')}", "HOME": str(home), "PYTHONUNBUFFERED": "1", **more}


@contextlib.contextmanager
def _mcp_proxy(base: str, _: Era, folder: Path) -> Iterator[Endpoint]:
    """It bridges stdio and HTTP, so it takes two of it: one serves HTTP and runs the other, which asks the backend."""
    bins, port = environment("mcp-proxy"), free_port()
    program = str(bins / "mcp-proxy")
    argv = [program, "--host", "127.0.0.1", "--port", str(port), "--log-level", "ERROR", "--", program]
    argv += ["--transport", "streamablehttp", "--log-level", "ERROR", f"{base}/a/mcp"]
    with running(argv, folder / "mcp-proxy.log", _env(folder / "mcp-proxy", bins)) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(f"{url}/status")[0] != 0, START_SECONDS)
        yield Endpoint(f"{url}/mcp", process)


@contextlib.contextmanager
def _litellm(base: str, _: Era, folder: Path) -> Iterator[Endpoint]:
    bins, port, key = environment("litellm"), free_port(), f"sk-{secrets.token_hex(16)}"
    own = folder / "litellm"
    env = _env(
        own,
        bins,
        LITELLM_MASTER_KEY=key,
        LITELLM_MODE="PRODUCTION",
        LITELLM_LOG="ERROR",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        NO_DOCS="True",
    )
    servers = {name: {"url": f"{base}/{name}/mcp", "transport": "http", "allow_all_keys": True} for name in "ab"}
    (own / "config.yaml").write_text(json.dumps({"mcp_servers": servers, "litellm_settings": {"set_verbose": False}}))
    argv = [str(bins / "litellm"), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    argv += ["--config", str(own / "config.yaml")]
    with running(argv, folder / "litellm.log", env) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(f"{url}/health/liveliness")[0] == 200, START_SECONDS)
        yield Endpoint(f"{url}/mcp/", process, f"a-{TOOL}", {"authorization": f"Bearer {key}"})


_CONTEXTFORGE: Final = {
    "LOG_LEVEL": "ERROR",
    "DISABLE_ACCESS_LOG": "true",
    "CACHE_TYPE": "memory",
    "DB_POOL_CLASS": "queue",
    "AUTH_CACHE_ENABLED": "true",
    "JSON_RESPONSE_ENABLED": "true",
    "USE_STATEFUL_SESSIONS": "false",
    "MCP_SESSION_POOL_ENABLED": "true",
    "MCP_SESSION_POOL_MAX_PER_KEY": "200",
    "HTTPX_MAX_CONNECTIONS": "200",
    "HTTPX_MAX_KEEPALIVE_CONNECTIONS": "100",
    "AUDIT_TRAIL_ENABLED": "false",
    "PLUGINS_ENABLED": "false",
    "RATE_LIMITING_ENABLED": "false",
    "MCPGATEWAY_UI_ENABLED": "false",
    "MCPGATEWAY_ADMIN_API_ENABLED": "false",
    "MCPGATEWAY_A2A_ENABLED": "false",
    "MCPGATEWAY_CATALOG_ENABLED": "false",
    "LLMCHAT_ENABLED": "false",
    "DB_METRICS_RECORDING_ENABLED": "false",
    "TOKEN_USAGE_LOGGING_ENABLED": "false",
    "OBSERVABILITY_ENABLED": "false",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
}


@contextlib.contextmanager
def _contextforge(base: str, era: Era, folder: Path) -> Iterator[Endpoint]:
    bins, port, own = environment("mcp-contextforge-gateway"), free_port(), folder / f"contextforge-{era}"
    secret, password = secrets.token_hex(24), f"Aa1-{secrets.token_hex(12)}"
    env = _env(
        own,
        bins,
        **_CONTEXTFORGE,
        DATABASE_URL=f"sqlite:///{own}/mcp.db",
        JWT_SECRET_KEY=secret,
        AUTH_ENCRYPTION_SECRET=secrets.token_hex(24),
        BASIC_AUTH_PASSWORD=password,
        PLATFORM_ADMIN_PASSWORD=password,
        DEFAULT_USER_PASSWORD=password,
    )
    argv = [
        str(bins / "mcpgateway"),
        "mcpgateway.main:app",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with running(argv, folder / f"contextforge-{era}.log", env) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(f"{url}/health")[0] == 200, START_SECONDS)
        headers = {"authorization": f"Bearer {_token(bins, env, secret)}"}
        for name in "ab":
            gateway = {"name": name, "url": f"{base}/{name}/mcp", "transport": "STREAMABLEHTTP"}
            _post(f"{url}/gateways", gateway, headers, process)
        yield Endpoint(f"{url}/mcp/", process, f"a-{TOOL}", headers)


def _token(bins: Path, env: Mapping[str, str], secret: str) -> str:
    argv = [bins / "python", "-m", "mcpgateway.utils.create_jwt_token", "--username", "admin@example.com"]
    argv += ["--exp", "600", "--admin", "--secret", secret]
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise NotReady(f"no token could be made: {done.stderr[-300:]}")
    return done.stdout.split()[-1]


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], process: Process) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {**headers, "content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60):
            pass
    except urllib.error.HTTPError as error:
        raise NotReady(f"registering the server failed: {error.code} {error.read()[:200]!r}") from error
    except OSError as error:
        raise NotReady(f"registering the server failed: {error}; {process.tail()}") from error


def _peer(name: str, start: Callable[[str, Era, Path], AbstractContextManager[Endpoint]]) -> Target:
    return Target(name, start, seconds=3.0, warm_up=4)


PEERS: Final = (
    _peer("mcp-proxy (sparfenyuk)", _mcp_proxy),
    _peer("mcp-contextforge-gateway", _contextforge),
    _peer("litellm", _litellm),
)
