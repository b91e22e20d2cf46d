"""Where things live outside the checkout (XDG Base Directory Specification 0.8)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HACK = Path(__file__).resolve().parent.parent
APPLICATION = "mcp-operator"


@dataclass(frozen=True)
class Paths:
    """`cache` survives `down` and can be shared by checkouts; `state` is one running cluster and goes with it."""

    cache: Path
    state: Path

    @property
    def lock(self) -> Path:
        return self.state.with_suffix(".lock")

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def plan(self) -> Path:
        return self.state / "plan.json"

    @property
    def ready(self) -> Path:
        return self.state / "ready.json"

    @property
    def failed(self) -> Path:
        return self.state / "failed.txt"

    @property
    def programs(self) -> Path:
        return self.state / "programs.json"

    @property
    def cgroup(self) -> str:
        """The name of the control group under which every pod of this cluster runs, without a slash."""
        return f"{APPLICATION}-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"


def from_environment(environment: Mapping[str, str]) -> Paths:
    """The paths for a process environment; relative XDG values are ignored, as the specification asks."""
    home = Path(environment.get("HOME") or "/root")

    def base(variable: str, default: Path) -> Path:
        value = Path(environment.get(variable, ""))
        return (value if value.is_absolute() else default) / APPLICATION

    return Paths(
        cache=base("XDG_CACHE_HOME", home / ".cache"),
        state=base("XDG_STATE_HOME", home / ".local/state") / "cluster",
    )
