"""Cache keys and build flags."""

import pytest

from localcluster import catalogue
from localcluster.binaries import sources
from localcluster.catalogue import ALL, COMPONENTS, COREDNS, HELM, MONITORING, PAUSE
from localcluster.errors import ClusterError

GO_MOD = "module m\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.37.0\n"
SOURCES = {"go.mod": GO_MOD.encode(), "go.sum": b"sums", "tools.go": b"package m"}


def test_cache_name_says_module_and_version() -> None:
    assert catalogue.cache_name(COMPONENTS, SOURCES, "x86_64").startswith("components-v1.37.0-")


def test_cache_name_is_stable() -> None:
    reordered = dict(reversed(SOURCES.items()))
    assert catalogue.cache_name(COMPONENTS, reordered, "x86_64") == catalogue.cache_name(COMPONENTS, SOURCES, "x86_64")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_decides_the_key(name: str) -> None:
    changed = {**SOURCES, name: SOURCES[name] + b"\n// changed"}
    assert catalogue.cache_name(COMPONENTS, changed, "x86_64") != catalogue.cache_name(COMPONENTS, SOURCES, "x86_64")


def test_architecture_decides_the_key() -> None:
    assert catalogue.cache_name(COMPONENTS, SOURCES, "aarch64") != catalogue.cache_name(COMPONENTS, SOURCES, "x86_64")


def test_digest_minds_the_borders_of_parts() -> None:
    assert catalogue.digest([b"ab", b"c"]) != catalogue.digest([b"a", b"bc"])


@pytest.mark.parametrize(
    "go_mod",
    [GO_MOD, "go 1.26.0\nrequire (\n\tk8s.io/api v0.37.0\n\tk8s.io/kubernetes v1.37.0\n)\n"],
    ids=["one line", "block"],
)
def test_version_from_go_mod(go_mod: str) -> None:
    assert catalogue.version(COMPONENTS, go_mod) == "v1.37.0"


def test_version_that_is_not_required_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"components/go\.mod requires no k8s\.io/kubernetes"):
        catalogue.version(COMPONENTS, "module m\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes-other v1.37.0\n")


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = catalogue.linker_flags(COMPONENTS, GO_MOD)
    assert "-X k8s.io/component-base/version.gitVersion=v1.37.0" in flags
    assert "version.gitMajor=1 " in flags
    assert "version.gitMinor=37 " in flags
    assert catalogue.linker_flags(HELM, GO_MOD) == "-s -w"


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.folder)
def test_committed_modules_pin_what_the_catalogue_says(module: catalogue.Module) -> None:
    go_mod = sources(module)["go.mod"].decode()
    assert catalogue.go_requirement(go_mod) == "1.26.0"
    pinned = catalogue.version(module, go_mod)
    assert pinned.startswith("v") or module is PAUSE


@pytest.mark.parametrize("module", [HELM, *MONITORING], ids=lambda module: module.folder)
def test_others_are_held_to_the_same_libraries(module: catalogue.Module) -> None:
    """What is compiled once serves all; a release's own older ones would take minutes more."""
    kubernetes = catalogue.version(COMPONENTS, sources(COMPONENTS)["go.mod"].decode())
    go_mod = sources(module)["go.mod"].decode()
    for library in ("api", "apimachinery", "client-go"):
        assert f"\tk8s.io/{library} v0.{kubernetes.partition('.')[2]} // indirect\n" in go_mod


def test_coredns_builds_with_the_libraries_of_the_components() -> None:
    staging = sources(COMPONENTS)["go.mod"].decode()
    for line in sources(COREDNS)["go.mod"].decode().splitlines():
        if "=> k8s.io/" in line:
            assert line.strip() in staging
