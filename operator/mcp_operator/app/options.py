"""What the installation says to the operator: flags of `mcp-operator run`, each also an environment variable."""

import argparse
import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from mcp_operator import __version__
from mcp_operator.api.scalars import PullPolicy
from mcp_operator.desired import HostingSettings
from mcp_operator_proxy.egress import MODES, Egress
from mcp_operator_proxy.logs import LogFormat

Choice = TypeVar("Choice", bound=str)
_PREFIX: Final = "MCP_OPERATOR_"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PULL_POLICIES: Final[tuple[PullPolicy, ...]] = ("Always", "IfNotPresent", "Never")
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("json", "text")


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one operator process. No namespaces: all of the cluster."""

    hosting: HostingSettings
    namespaces: tuple[str, ...] = ()
    lease_namespace: str | None = None
    """Where the Lease for leader election lives; None: no election."""
    lease_name: str = "mcp-operator"
    lease_seconds: float = 10.0
    identity: str = ""
    host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus ask it
    port: int = 8081
    workers: int = 16
    probe_concurrency: int = 32
    resync_seconds: float = 600.0
    watch_patience_seconds: float = 120.0
    log_level: str = "info"
    log_format: LogFormat = "json"


def add_flags(parser: argparse.ArgumentParser, environ: Mapping[str, str] | None = None) -> None:
    """Add the operator's flags. The default of each is taken from `MCP_OPERATOR_<FLAG>`."""
    given = os.environ if environ is None else environ

    def flag(name: str, default: str, text: str, **more: object) -> None:
        variable = _PREFIX + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", default=given.get(variable, default), help=f"{text} [{variable}]", **more)  # type: ignore[arg-type]

    flag("namespaces", "", "comma-separated namespaces to watch; empty: the whole cluster")
    flag("proxy-image", f"mcp-operator-proxy:{__version__}", "image of proxy pods")
    flag("runner-image", f"mcp-operator-runner:{__version__}", "image that runs stdio servers")
    flag("image-pull-policy", "IfNotPresent", "pull policy of both", choices=_PULL_POLICIES)
    flag("image-pull-secrets", "", "comma-separated names of pull secrets, in the namespace of each pod")
    flag("egress", "enforce", "whether proxies and probes reach only public addresses and Services", choices=MODES)
    flag("egress-allow", "", "what they reach beside them: loopback, networks such as 10.0.0.0/8, by commas")
    flag("cluster-domain", "cluster.local", "of the names of Services")
    flag("lease-namespace", "", "namespace of the Lease for leader election; empty: no election")
    flag("lease-name", "mcp-operator", "name of that Lease")
    flag(
        "lease-seconds",
        "10",
        "for so long others wait for a leader that says nothing; it steps down after 7 tenths of it",
    )
    flag("identity", "", "name of this process in the election; empty: host name and a random part")
    flag("host", "0.0.0.0", "address of /healthz, /readyz and /metrics")  # noqa: S104
    flag("port", "8081", "port of /healthz, /readyz and /metrics")
    flag("workers", "16", "reconciles at once")
    flag("probe-concurrency", "32", "probes at once")
    flag("resync-seconds", "600", "time between two full listings")
    flag(
        "watch-patience-seconds",
        "120",
        "after which /healthz fails while a watch does not bring what the API server has",
    )
    flag("log-level", "info", "least level that is logged", choices=_LOG_LEVELS)
    flag("log-format", "json", "form of a log line", choices=_LOG_FORMATS)


def read(arguments: argparse.Namespace) -> Options:
    """Options from parsed flags. Raises ValueError with a message for the user."""
    return Options(
        hosting=HostingSettings(
            proxy_image=arguments.proxy_image,
            runner_image=arguments.runner_image,
            image_pull_policy=_one_of("image-pull-policy", arguments.image_pull_policy, _PULL_POLICIES),
            image_pull_secrets=_listed(arguments.image_pull_secrets),
            egress=Egress.parse(arguments.egress, arguments.egress_allow, arguments.cluster_domain),
            operator_namespace=arguments.lease_namespace or None,
        ),
        namespaces=_namespaces(arguments.namespaces),
        lease_namespace=arguments.lease_namespace or None,
        lease_name=arguments.lease_name,
        lease_seconds=float(_number("lease-seconds", arguments.lease_seconds, least=1)),
        identity=arguments.identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        host=arguments.host,
        port=_number("port", arguments.port, least=0),
        workers=_number("workers", arguments.workers, least=1),
        probe_concurrency=_number("probe-concurrency", arguments.probe_concurrency, least=1),
        resync_seconds=float(_number("resync-seconds", arguments.resync_seconds, least=1)),
        watch_patience_seconds=float(_number("watch-patience-seconds", arguments.watch_patience_seconds, least=1)),
        log_level=_one_of("log-level", arguments.log_level, _LOG_LEVELS),
        log_format=_one_of("log-format", arguments.log_format, _LOG_FORMATS),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _namespaces(text: str) -> tuple[str, ...]:
    """Each once. Patterns are none: kopf would take them for such, and the API server would not."""
    names = tuple(dict.fromkeys(_listed(text)))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f"--namespaces lists names of namespaces, and {name!r} is none")
    return names


def _one_of(name: str, text: str, choices: Sequence[Choice]) -> Choice:
    """argparse checks the choices of what stands on the command line, and not those of a default."""
    for choice in choices:
        if text == choice:
            return choice
    raise ValueError(f"--{name} is one of {', '.join(choices)}, not {text!r}")


def _number(name: str, text: str, *, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise ValueError(f"--{name} is a whole number of at least {least}, not {text!r}")
    return int(text)


def parse(arguments: Sequence[str]) -> Options:
    """Options of a command line; exits as argparse does when it is wrong."""
    parser = argparse.ArgumentParser(prog="mcp-operator run", description="Run the operator.")
    add_flags(parser)
    chosen = parser.parse_args(arguments)
    try:
        return read(chosen)
    except ValueError as error:
        parser.error(str(error))
