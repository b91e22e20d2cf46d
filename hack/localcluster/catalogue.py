"""The programs that are built from Go modules, and the keys under which built ones are cached (pure)."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from localcluster.errors import ClusterError

LINKER_FLAGS = "-s -w"


@dataclass(frozen=True)
class Program:
    """One binary: the package it is built from and the seconds that took on two idle cores with empty caches."""

    name: str
    package: str
    seconds: float


@dataclass(frozen=True)
class Module:
    """A folder of `hack/kubernetes` with a go.mod; `pinned` is the requirement whose version names the binaries.

    `definitions`: the folder of that requirement's source which holds the CustomResourceDefinitions of its kinds.
    """

    folder: str
    pinned: str
    programs: tuple[Program, ...]
    definitions: str = ""


def _component(name: str, seconds: float) -> Program:
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", seconds)


COMPONENTS = Module(
    "components",
    "k8s.io/kubernetes",
    (
        _component("kube-apiserver", 264),
        _component("kubectl", 19),
        _component("kube-controller-manager", 76),
        _component("kube-scheduler", 8),
        _component("kubelet", 19),
        _component("kube-proxy", 8),
    ),
)
COREDNS = Module("coredns", "github.com/coredns/coredns", (Program("coredns", ".", 51),))
HELM = Module("helm", "helm.sh/helm/v3", (Program("helm", "helm.sh/helm/v3/cmd/helm", 34),))
PAUSE = Module("pause", "", (Program("pause", ".", 3),))
KIND = Module("kind", "sigs.k8s.io/kind", (Program("kind", "sigs.k8s.io/kind", 30),))
PROMETHEUS_OPERATOR = Module(
    "prometheus-operator",
    "github.com/prometheus-operator/prometheus-operator",
    (Program("prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator", 40),),
    definitions="example/prometheus-operator-crd",
)
PROMETHEUS_DISCOVERY = Module(
    "prometheus-discovery", "github.com/prometheus/prometheus", (Program("prometheus-discovery", ".", 30),)
)

NEEDED = (COMPONENTS, COREDNS, PAUSE, HELM)
MONITORING = (PROMETHEUS_OPERATOR, PROMETHEUS_DISCOVERY)
ALL = (*NEEDED, KIND, *MONITORING)


def version(module: Module, go_mod: str) -> str:
    """The version that a go.mod requires of the module's pinned dependency ("" where nothing is pinned)."""
    if not module.pinned:
        return ""
    found = re.search(rf"^(?:require\s+|\t){re.escape(module.pinned)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise ClusterError(f"hack/kubernetes/{module.folder}/go.mod requires no {module.pinned}")
    return found[1]


def go_requirement(go_mod: str) -> str:
    """The Go version that a go.mod asks for, such as "1.26.0"."""
    found = re.search(r"^go (\d+(?:\.\d+)+)$", go_mod, re.MULTILINE)
    if found is None:
        raise ClusterError("the go.mod has no go directive")
    return found[1]


def linker_flags(module: Module, go_mod: str) -> str:
    """What `go build -ldflags` gets; Kubernetes programs refuse to work together without a version."""
    if module is not COMPONENTS:
        return LINKER_FLAGS
    release = version(module, go_mod)
    major, minor, _ = release.removeprefix("v").split(".", 2)
    package = "k8s.io/component-base/version"
    values = {"gitVersion": release, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join([LINKER_FLAGS, *(f"-X {package}.{name}={value}" for name, value in values.items())])


def digest(parts: Iterable[bytes]) -> str:
    """Twelve hexadecimal digits over parts whose borders count."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.hexdigest()[:12]


def cache_name(module: Module, sources: Mapping[str, bytes], architecture: str) -> str:
    """The folder of a module's binaries, such as `components-v1.37.0-0f3a9c11d2e4`.

    `sources` maps the module's file names to their contents: go.mod, go.sum and what Go files it has.
    """
    go_mod = sources["go.mod"].decode()
    named = [part for name in sorted(sources) for part in (name.encode(), sources[name])]
    key = digest([*named, linker_flags(module, go_mod).encode(), architecture.encode()])
    return "-".join(filter(None, [module.folder, version(module, go_mod), key]))
