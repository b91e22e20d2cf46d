"""An API server of these tests' own that has the real definitions of the Prometheus operator's kinds, and our operator beside it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.errors import ClusterError
from mcp_operator.api import meta
from support.beside import Operator, operating
from support.chart import rendered
from support.controlplane import ControlPlane
from support.definitions import wait_established
from support.documents import BLOCKS, ROOT
from support.prometheus_operator import GROUP, install_definitions

PAGE = "docs/monitoring.md"
SYSTEM = "mcp-system"
TEAM = "team-a"
Body = dict[str, Any]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Nobody makes default accounts here, so they are made."""
    try:
        control = ControlPlane(tmp_path_factory.mktemp("plane"))
        rendered()
    except ClusterError as error:
        pytest.skip(f"these tests start an API server of their own ({error}): `make kubernetes-build` builds it")
    with control:
        control.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        wait_established(control.kubectl, *(kind.crd_name for kind in meta.KINDS))
        install_definitions(control)
        for namespace in (SYSTEM, TEAM):
            control.kubectl("create", "namespace", namespace)
            control.kubectl("-n", namespace, "create", "serviceaccount", "default")
        yield control


@contextmanager
def operated(plane: ControlPlane, folder: Path) -> Iterator[Operator]:
    """Our operator as a process, with the administrator's rights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(plane.kubeconfig))
        for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(variable)
        with operating(folder / "operator.log") as operator:
            yield operator
    assert "Traceback" not in (folder / "operator.log").read_text()


def values(folder: Path) -> list[str]:
    """Arguments of helm for what the page wants to be put into monitoring.yaml."""
    (block,) = [block for block in BLOCKS if block.page == PAGE and block.file == "monitoring.yaml"]
    (folder / "monitoring.yaml").write_text(block.text)
    return ["--values", str(folder / "monitoring.yaml")]


def documented(kind: str) -> Body:
    """The page's manifest of this kind."""
    found = [yaml.safe_load(block.text) for block in BLOCKS if block.page == PAGE and f"kind: {kind}\n" in block.text]
    (body,) = found
    return dict(body)


def of_the_prometheus_operator(bodies: list[Body]) -> list[Body]:
    return [body for body in bodies if re.fullmatch(rf"{re.escape(GROUP)}/v\d+", body["apiVersion"])]
