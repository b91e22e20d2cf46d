"""Builds the programs once and keeps them in the cache; finds those that are there already."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from localcluster import catalogue
from localcluster.catalogue import Module, Program
from localcluster.errors import ClusterError
from localcluster.locks import exclusive
from localcluster.paths import HACK
from localcluster.progress import ATTEMPTS_TO_FETCH, run_long, say
from localcluster.toolchain import find_go, go_environment

MODULES = HACK / "kubernetes"


def prebuilt(environment: Mapping[str, str]) -> Path | None:
    """The folder that KUBEBUILDER_ASSETS names; what it holds is used before anything is built."""
    value = environment.get("KUBEBUILDER_ASSETS")
    if not value:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise ClusterError(f"KUBEBUILDER_ASSETS names {value}, which is no folder")
    return folder.resolve()


def sources(module: Module, modules: Path = MODULES) -> dict[str, bytes]:
    """The files that decide what is built, by name."""
    folder = modules / module.folder
    names = [path for path in sorted(folder.iterdir()) if path.suffix == ".go" or path.name in {"go.mod", "go.sum"}]
    return {path.name: path.read_bytes() for path in names}


def folder_of(module: Module, cache: Path) -> Path:
    """Where the module's binaries are cached, built or not."""
    return cache / "kubernetes" / catalogue.cache_name(module, sources(module), platform.machine())


def build(modules: Iterable[Module], cache: Path) -> None:
    """Build what is missing; every binary appears whole (atomic rename) and concurrent builders wait for one another."""
    assets = prebuilt(os.environ)
    for module in modules:
        folder = folder_of(module, cache)
        if _missing(module, folder, assets):
            with exclusive(folder.with_name(f"{folder.name}.lock"), f"building {module.folder}"):
                _build_module(module, folder, cache, assets)


def _missing(module: Module, folder: Path, assets: Path | None) -> list[Program]:
    return [
        program
        for program in module.programs
        if not (folder / program.name).exists() and not (assets and (assets / program.name).exists())
    ]


def _build_module(module: Module, folder: Path, cache: Path, assets: Path | None) -> None:
    missing = _missing(module, folder, assets)
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.partial"):
        leftover.unlink()
    source = MODULES / module.folder
    go = find_go(source, cache)
    flags = catalogue.linker_flags(module, (source / "go.mod").read_text())
    for number, program in enumerate(missing, start=1):
        partial = folder / f".{program.name}.partial"
        run_long(
            f"[{module.folder} {number}/{len(missing)}] building {program.name}",
            [go, "build", "-trimpath", "-ldflags", flags, "-o", str(partial), program.package],
            log=cache / "logs" / f"build-{program.name}.log",
            expected_seconds=program.seconds,
            cwd=source,
            environment=go_environment(os.environ),
            attempts=ATTEMPTS_TO_FETCH,  # it fetches hundreds of modules, and asks for each only once
        )
        partial.replace(folder / program.name)


def search_path(cache: Path, modules: Iterable[Module] = catalogue.ALL) -> list[Path]:
    """The folders in which the programs are looked for, first match first."""
    assets = prebuilt(os.environ)
    return [*([assets] if assets else []), *(folder_of(module, cache) for module in modules)]


def locate(names: Iterable[str], cache: Path) -> dict[str, str]:
    """The absolute path of each program: prebuilt, built, or installed on the machine."""
    path = os.pathsep.join([*map(str, search_path(cache)), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = {name: shutil.which(name, path=path) for name in names}
    absent = sorted(name for name, location in found.items() if location is None)
    if absent:
        raise ClusterError(f"not installed and not built: {', '.join(absent)}")
    return {name: location for name, location in found.items() if location is not None}


def definitions(module: Module, cache: Path) -> Path:
    """The folder of the CustomResourceDefinitions of the module's kinds, as its project releases them; fetched once."""
    home = folder_of(module, cache)
    folder = home / "definitions"
    if not folder.exists():
        with exclusive(home.with_name(f"{home.name}.lock"), f"building {module.folder}"):
            if not folder.exists():
                _fetch_definitions(module, folder, cache)
    return folder


def _fetch_definitions(module: Module, folder: Path, cache: Path) -> None:
    """From the source that go.mod pins and go.sum vouches for; it is whole when it appears."""
    module_folder = MODULES / module.folder
    command = [find_go(module_folder, cache), "mod", "download", "-json", module.pinned]
    done = subprocess.run(
        command, cwd=module_folder, env=go_environment(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"the source of {module.pinned} cannot be had: {done.stderr.strip() or done.stdout.strip()}")
    partial = folder.with_name(".definitions.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted((Path(json.loads(done.stdout)["Dir"]) / module.definitions).glob("*.yaml")):
        (partial / path.name).write_bytes(path.read_bytes())
    partial.rename(folder)


def kubernetes_version() -> str:
    """The release that the components are built from, such as "v1.37.0"."""
    return catalogue.version(catalogue.COMPONENTS, sources(catalogue.COMPONENTS)["go.mod"].decode())


def build_all(cache: Path) -> None:
    """Everything that a cluster and its tests use, with one line that says where it is."""
    build(catalogue.NEEDED, cache)
    say(f"Kubernetes {kubernetes_version()} is built: {cache / 'kubernetes'}")
