"""What can be done with the cluster once it is there: run commands, load images, read logs."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcluster import archives, binaries, configs, enter, lifecycle, supervisor
from localcluster.errors import ClusterError
from localcluster.ladder import Rung, choose, command_environment
from localcluster.locks import exclusive
from localcluster.paths import Paths
from localcluster.processes import Process
from localcluster.progress import run, say

NOT_RUNNING = "the local cluster is not running: `make cluster` (or `hack/cluster up`) starts it"


def search_path(paths: Paths) -> list[str]:
    """The folders with kubectl, helm and the rest, as strings for PATH."""
    return [str(folder) for folder in binaries.search_path(paths.cache)]


def require_running(paths: Paths) -> Process:
    """The cluster's first process; `ClusterError` when there is none."""
    first = lifecycle.running(paths)
    if first is None:
        raise ClusterError(NOT_RUNNING)
    return first


def execute(paths: Paths, command: Sequence[str]) -> int:
    """Run a command where the cluster can be reached, in the current folder; returns its exit status."""
    rung = choose(os.environ, paths)
    if rung is not Rung.LOCAL:
        path = os.pathsep.join([*search_path(paths), os.environ.get("PATH", os.defpath)])
        if shutil.which(command[0], path=path) is None:
            raise ClusterError(f"{command[0]}: command not found")
        os.execvpe(command[0], list(command), {**os.environ, "PATH": path})
    first = require_running(paths)
    environment = command_environment(os.environ, paths, search_path(paths))
    return enter.run(first.pid, command, environment, Path.cwd())


def environment_lines(paths: Paths) -> list[str]:
    """Shell lines that give a shell the tools, and the kubeconfig where it can be used."""
    path = os.pathsep.join(search_path(paths))
    lines = [f'export PATH={shlex.quote(path)}:"$PATH"']
    if choose(os.environ, paths) is Rung.EXTERNAL:
        return [*lines, f"export KUBECONFIG={shlex.quote(os.environ['KUBECONFIG'])}"]
    return [*lines, f"export KUBECONFIG={shlex.quote(str(paths.kubeconfig))}"]


def load(paths: Paths, files: Sequence[Path]) -> None:
    """Give image archives (docker or OCI format) to the node; one that it has already is not copied again."""
    for archive in files:
        if not archive.is_file():
            raise ClusterError(f"{archive} is no image archive: no such file")
    rung = choose(os.environ, paths)
    if rung is Rung.EXTERNAL:
        _load_external(paths, files)
        return
    prefix = [] if rung is Rung.INSIDE else lifecycle.inside(require_running(paths))
    ctr = [binaries.locate(["ctr"], paths.cache)["ctr"], f"--address={configs.CONTAINERD_SOCKET}", "--namespace=k8s.io"]
    with exclusive(paths.state / "images.lock", "loading images"):
        for archive in files:
            _load_local(paths, archive, [*prefix, *ctr, "images", "import", str(archive.resolve())])


def _load_local(paths: Paths, archive: Path, command: Sequence[str]) -> None:
    note = paths.state / "images.json"
    loaded: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    contents = archives.images_of(archive)
    if contents and all(loaded.get(name) == identifier for name, identifier in contents.items()):
        say(f"{archive.name} is loaded already")
        return
    run(command)
    partial = note.with_suffix(".partial")
    partial.write_text(json.dumps({**loaded, **contents}))
    partial.replace(note)
    say(f"loaded {archive.name}")


def _load_external(paths: Paths, files: Sequence[Path]) -> None:
    kubectl = binaries.locate(["kubectl"], paths.cache)["kubectl"]
    context = run([kubectl, "config", "current-context"]).strip()
    if not context.startswith("kind-"):
        raise ClusterError(
            f"the cluster that KUBECONFIG names (context {context!r}) is not made by kind, so images cannot be loaded into it: "
            "push them to a registry that it pulls from"
        )
    kind = binaries.locate(["kind"], paths.cache)["kind"]
    for archive in files:
        run([kind, "load", "image-archive", "--name", context.removeprefix("kind-"), str(archive)])
        say(f"loaded {archive.name}")


def status(paths: Paths) -> tuple[list[str], bool]:
    """Lines that say how the cluster is, and whether it is well."""
    rung = choose(os.environ, paths)
    if rung is Rung.EXTERNAL:
        return [f"using {rung.value}: {os.environ['KUBECONFIG']}"], True
    first = lifecycle.running(paths)
    if first is None and rung is Rung.LOCAL:
        return [NOT_RUNNING], False
    healthy = rung is Rung.INSIDE or lifecycle.well(paths)
    programs = supervisor.read_programs(paths.programs)
    lines = [
        f"Kubernetes {binaries.kubernetes_version()}, {'well' if healthy else 'not well'}; ready in {lifecycle.seconds_to_ready(paths)} s",
        f"kubeconfig: {paths.kubeconfig} (works inside: hack/cluster exec -- COMMAND)",
        f"logs: {paths.logs}",
        *(f"{name}: pid {entry['pid']}, {entry['restarts']} restarts" for name, entry in sorted(programs.items())),
    ]
    return lines, healthy


def logs(paths: Paths, component: str, follow: bool) -> int:
    """Print the log of a program of the node; returns the exit status of tail(1)."""
    log = paths.logs / f"{component}.log"
    if not log.is_file():
        known = ", ".join(sorted(file.stem for file in paths.logs.glob("*.log"))) or "none: the cluster was not started"
        raise ClusterError(f"no log of {component!r}; there are: {known}")
    return subprocess.run(["tail", "-n", "+1", *(["-F"] if follow else []), str(log)], check=False).returncode


def describe(paths: Paths) -> str:
    """The paths as JSON, for scripts."""
    values = {
        "kubeconfig": str(paths.kubeconfig),
        "state": str(paths.state),
        "cache": str(paths.cache),
        "path": search_path(paths),
    }
    return json.dumps(values, indent=1)
