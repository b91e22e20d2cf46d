"""Which cluster an environment means, and where things are."""

from pathlib import Path

import pytest

from localcluster.ladder import INSIDE_VARIABLE, Rung, choose, command_environment
from localcluster.paths import Paths, from_environment

PATHS = Paths(cache=Path("/c"), state=Path("/s/cluster"))
OWN = str(PATHS.kubeconfig)


@pytest.mark.parametrize(
    ("environment", "rung"),
    [
        ({}, Rung.LOCAL),
        ({"KUBECONFIG": ""}, Rung.LOCAL),
        ({"KUBECONFIG": OWN}, Rung.LOCAL),
        ({"KUBECONFIG": "/home/me/other"}, Rung.EXTERNAL),
        ({"KUBECONFIG": OWN, INSIDE_VARIABLE: "/s/cluster"}, Rung.INSIDE),
        ({INSIDE_VARIABLE: "/s/cluster"}, Rung.INSIDE),
        ({INSIDE_VARIABLE: "/another/cluster"}, Rung.LOCAL),
        ({"KUBECONFIG": "/home/me/other", INSIDE_VARIABLE: "/s/cluster"}, Rung.EXTERNAL),
    ],
)
def test_rung(environment: dict[str, str], rung: Rung) -> None:
    assert choose(environment, PATHS) is rung


def test_commands_inside_find_tools_and_cluster_and_no_proxy() -> None:
    outside = {"PATH": "/bin", "HTTPS_PROXY": "http://proxy", "no_proxy": "x", "KUBECONFIG": "", "LANG": "C"}
    environment = command_environment(outside, PATHS, ["/c/kubectl", "/c/helm"])
    assert environment == {
        "PATH": "/c/kubectl:/c/helm:/bin:/usr/sbin:/sbin",
        "KUBECONFIG": OWN,
        INSIDE_VARIABLE: "/s/cluster",
        "LANG": "C",
    }
    assert choose(environment, PATHS) is Rung.INSIDE


@pytest.mark.parametrize(
    ("environment", "cache", "state"),
    [
        ({"HOME": "/h"}, "/h/.cache/mcp-operator", "/h/.local/state/mcp-operator/cluster"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "XDG_STATE_HOME": "/y"}, "/x/mcp-operator", "/y/mcp-operator/cluster"),
        (
            {"HOME": "/h", "XDG_CACHE_HOME": "relative"},
            "/h/.cache/mcp-operator",
            "/h/.local/state/mcp-operator/cluster",
        ),
    ],
)
def test_paths_follow_xdg(environment: dict[str, str], cache: str, state: str) -> None:
    assert from_environment(environment) == Paths(cache=Path(cache), state=Path(state))


def test_clusters_have_control_groups_of_their_own() -> None:
    other = Paths(cache=PATHS.cache, state=Path("/t/cluster"))
    assert PATHS.cgroup.startswith("mcp-operator-")
    assert PATHS.cgroup != other.cgroup
