"""What the chart would install, as objects."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from localcluster import binaries
from localcluster.paths import from_environment

CHART = Path(__file__).parents[2] / "charts" / "mcp-operator"


def rendered(*arguments: str, release: str = "mcp-operator", namespace: str = "mcp-system") -> list[dict[str, Any]]:
    """`helm template` with these arguments. `ClusterError` where there is no helm."""
    helm = os.environ.get("HELM") or binaries.locate(["helm"], from_environment(os.environ).cache)["helm"]
    command = [helm, "template", release, str(CHART), "--namespace", namespace, "--kube-version", "1.37.0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.safe_load_all(done.stdout) if body]
