"""Prometheus and promtool of Debian's package; `hack/prometheus` installs it (`make` does)."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from support.backends import free_port
from support.ending import end

SCRAPE_SECONDS = 0.5
"""Also the time that a target has to answer in."""
STARTS_WITHIN = 60.0
_MISSING = "{} is not installed; `make prometheus` installs Debian's package"
Body = dict[str, Any]


def program(name: str) -> str:
    """`prometheus` or `promtool`."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(_MISSING.format(name))
    return found


def promtool(*arguments: str | Path, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
    """promtool(1), whatever its exit status."""
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def job(monitor: Body, target: str, labels: Mapping[str, str]) -> Body:
    """What the Prometheus operator makes of a ServiceMonitor or PodMonitor, for one target with the labels of its discovery.

    Source: API reference of the Prometheus operator, Endpoint and PodMetricsEndpoint.
    """
    spec = monitor["spec"]
    (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
    about = monitor["metadata"]
    relabelings = [
        {"action": found["action"], "target_label": found["targetLabel"], "replacement": found["replacement"]}
        for found in endpoint.get("relabelings", ())
    ]
    insecure = endpoint.get("tlsConfig", {}).get("insecureSkipVerify", False)
    return {
        "job_name": f"{monitor['kind']}/{about['namespace']}/{about['name']}",
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "tls_config": {"insecure_skip_verify": insecure},
        "relabel_configs": relabelings,
        "static_configs": [{"targets": [target], "labels": {"namespace": about["namespace"], **labels}}],
    }


class Prometheus:
    """A running one."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self.at: float | None = None
        """Seconds since the epoch for which `query` asks; None: now."""

    def get(self, path: str, **params: str) -> Any:
        """`data` of an answer of its HTTP API."""
        body = self._http.get(f"/api/v1/{path}", params=params).json()
        assert body["status"] == "success", (params, body)
        return body["data"]

    def query(self, expr: str) -> list[tuple[Body, float]]:
        """Labels and value of each series of an instant query; a failure of the evaluation is an AssertionError."""
        moment = {"time": f"{self.at:.3f}"} if self.at is not None else {}
        data = self.get("query", query=expr, **moment)
        assert data["resultType"] == "vector", expr
        return [(found["metric"], float(found["value"][1])) for found in data["result"]]


@contextmanager
def running_prometheus(folder: Path, jobs: Sequence[Body], rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """On loopback, with its data in `folder`; ended when left."""
    interval = f"{SCRAPE_SECONDS * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": list(jobs),
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={folder / 'data'}"], stderr=output, stdout=output)
    try:
        with httpx2.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as http:
            deadline = time.monotonic() + STARTS_WITHIN
            while not _is_ready(http):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"prometheus did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield Prometheus(http)
    finally:
        end(process, 30)


def _is_ready(http: httpx2.Client) -> bool:
    try:
        return http.get("/-/ready").status_code == 200
    except httpx2.HTTPError:
        return False
