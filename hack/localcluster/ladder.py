"""Which cluster is meant (pure): one that the user names comes before one of our own."""

from collections.abc import Mapping
from enum import Enum

from localcluster.paths import Paths

INSIDE_VARIABLE = "MCP_OPERATOR_CLUSTER"


class Rung(Enum):
    """The steps of the ladder, first match first."""

    EXTERNAL = "the cluster that KUBECONFIG names"
    INSIDE = "the local cluster, from inside its namespaces"
    LOCAL = "the local cluster"


def choose(environment: Mapping[str, str], paths: Paths) -> Rung:
    """`KUBECONFIG` decides when it names anything but the local cluster's own file; ~/.kube/config is never taken."""
    named = environment.get("KUBECONFIG")
    if named and named != str(paths.kubeconfig):
        return Rung.EXTERNAL
    if environment.get(INSIDE_VARIABLE) == str(paths.state):
        return Rung.INSIDE
    return Rung.LOCAL


def command_environment(environment: Mapping[str, str], paths: Paths, search_path: list[str]) -> dict[str, str]:
    """The environment of a command inside the local cluster.

    Proxies of the machine are out of reach from inside, so their variables are dropped.
    """
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    path = ":".join([*search_path, environment.get("PATH", "/usr/bin:/bin"), "/usr/sbin", "/sbin"])
    return {**kept, "PATH": path, "KUBECONFIG": str(paths.kubeconfig), INSIDE_VARIABLE: str(paths.state)}
