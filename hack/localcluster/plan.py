"""Everything that a cluster is started with, rendered before it starts (pure but for reading the machine's layout).

A running cluster whose plan has the same revision is the one that `up` would start, so it is left alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster import addons, commands, configs, mounts, network
from localcluster.catalogue import digest
from localcluster.errors import ClusterError
from localcluster.paths import Paths

CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
TOOLS = ("kubectl", "ctr")


@dataclass(frozen=True)
class Plan:
    """`files` are written below the state's `config` folder; `commands` are the long-running programs, `tools` the others.

    `surroundings` are the mounts and addresses that the node makes for itself.
    """

    files: dict[str, str]
    commands: dict[str, list[str]]
    tools: dict[str, str]
    surroundings: list[str]

    @property
    def revision(self) -> str:
        """Changes when anything changes that a running cluster would have to be restarted for."""
        return digest([json.dumps(asdict(self), sort_keys=True).encode()])


def cni_folder(candidates: tuple[str, ...] = CNI_FOLDERS) -> str:
    """The folder that holds the CNI plugins (Debian's, or upstream's)."""
    return next((folder for folder in candidates if (Path(folder) / "ptp").exists()), candidates[0])


def make(paths: Paths, binaries: Mapping[str, str], cni_plugins: str) -> Plan:
    """The plan for a state folder; `binaries` maps every program and tool to its absolute path."""
    pki, config = str(paths.pki), str(paths.config)
    rendered: dict[str, object] = {
        "kubelet.json": configs.kubelet(pki, config, paths.cgroup),
        "kube-proxy.json": configs.kube_proxy(config),
        "cni/10-pods.conflist": network.cni_config(),
        "addons.json": addons.manifest(),
    }
    texts = {
        "containerd.toml": configs.containerd(cni_plugins, f"{config}/cni"),
        "hosts": network.HOSTS,
        "resolv.conf": network.NODE_RESOLV_CONF,
        "upstream-resolv.conf": network.UPSTREAM_RESOLV_CONF,
    }
    return Plan(
        files={**texts, **{name: json.dumps(value, indent=1) for name, value in rendered.items()}},
        commands=commands.command_lines(binaries, paths),
        tools={name: binaries[name] for name in TOOLS},
        surroundings=[str(item) for item in (*mounts.LAYOUT, network.SETUP, network.SYSCTLS)],
    )


def write(plan: Plan, paths: Paths) -> None:
    """Write the plan and its files."""
    for name, content in plan.files.items():
        target = paths.config / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    paths.plan.write_text(json.dumps(asdict(plan)))


def read(paths: Paths) -> Plan:
    """The plan that a state folder was started with; `ClusterError` when there is no whole one."""
    try:
        return Plan(**json.loads(paths.plan.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"{paths.plan} is not a whole plan: {error}") from error
