"""Helm, as these tests use it, and the chart's rendered objects."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import binaries
from localcluster.errors import ClusterError
from localcluster.paths import from_environment

CHART = Path(__file__).parents[3] / "charts" / "mcp-operator"
CASES = sorted(path.stem for path in (Path(__file__).parent / "values").glob("*.yaml"))
RELEASE = "mcp-operator"
KUBE_VERSION = "1.37.0"

Body = dict[str, Any]


class HelmError(AssertionError):
    """Helm refused; its words."""


@dataclass(frozen=True)
class Helm:
    """One helm binary."""

    path: str

    def __call__(self, *arguments: str, timeout: float = 120) -> str:
        done = subprocess.run([self.path, *arguments], capture_output=True, text=True, check=False, timeout=timeout)
        if done.returncode != 0:
            raise HelmError(done.stderr)
        return done.stdout

    def template(self, *arguments: str) -> str:
        """What would be installed, without a cluster."""
        return self(
            "template", RELEASE, str(CHART), "--namespace", "mcp-system", "--kube-version", KUBE_VERSION, *arguments
        )

    def objects(self, *arguments: str) -> list[Body]:
        return [body for body in yaml.safe_load_all(self.template(*arguments)) if body]


@cache
def find_helm() -> str:
    named = os.environ.get("HELM")
    try:
        return (
            shutil.which(named) or named
            if named
            else binaries.locate(["helm"], from_environment(os.environ).cache)["helm"]
        )
    except ClusterError as error:
        pytest.fail(f"these tests need helm ({error}): `make kubernetes-build` builds it, or HELM names one")


@pytest.fixture(scope="session")
def helm() -> Helm:
    """From HELM, from the cache of `make kubernetes-build`, or from PATH."""
    return Helm(find_helm())


def values_of(case: str) -> list[str]:
    """Arguments of helm for one of the sets of values beside this file."""
    return ["--values", str(Path(__file__).parent / "values" / f"{case}.yaml")]
