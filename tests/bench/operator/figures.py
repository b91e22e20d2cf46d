"""What is measured, and for how long."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Times in seconds, memory in MiB. `change_*`: from sending the edit until the proxy serves it."""

    servers: int
    proxies: int
    apply_s: float
    """Until the API server had taken all of it."""
    converge_s: float
    """From the first object applied until every status is right."""
    converge_cpu_s: float
    """CPU time of the operator meanwhile; `converge_api_cpu_s`: of the API server and etcd, `converge_pods_cpu_s`: of the proxies."""
    converge_api_cpu_s: float
    converge_pods_cpu_s: float
    config_writes_max: int
    """Versions of one proxy's ConfigMap until then; the first is one."""
    config_writes_mean: float
    status_writes_per_server: float
    change_p50_s: float
    change_p95_s: float
    change_max_s: float
    change_cpu_ms: float
    """CPU time of the operator for one change, its idle time left out."""
    status_p95_s: float
    """Until the McpProxy says that the change is in use."""
    rss_mb: float
    """The most that was seen."""
    rss_idle_mb: float
    idle_cpu_percent: float
    """Of one core."""
    idle_writes: int
    """Requests to the API server in that time that change something."""
    idle_busy_percent: float
    """Of all cores of the machine in that time: how far the figures above are its own."""
    restart_s: float
    """From the start of another operator in the finished world until it has looked at, and probed, everything."""
    restart_cpu_s: float
    restart_writes: int
    """Requests by then that change something."""


@dataclass(frozen=True)
class Plan:
    """How long to look."""

    changes: int = 40
    idle_seconds: float = 60.0
    profile: Path | None = None
    """Where to write a profile of the operator (cProfile), which slows it down."""
