"""The commands of the documents that need a cluster, run as they stand there, on the real node.

Each scenario (the comments before the blocks, see support/documents.py) is run in the folder of a reader (support/reader.py). What
differs from what a reader has:

- packages come from an index in the cluster, as nothing leaves it (UV_DEFAULT_INDEX in servers that uvx starts);
- `https://….example.com/mcp` is a backend in the cluster;
- `helm upgrade` is given the images and the settings of tests/e2e/values.yaml, too;
- of the Prometheus operator, Flux and Argo CD there are the kinds alone.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.definitions import open_definitions
from support.documents import ROOT, RUNBOOK, SAID, scenario
from support.kubectl import Namespace, eventually, kubectl
from support.product import PACKAGES_IMAGE, PROXY_IMAGE, RELEASE, SYSTEM, backend_objects, call, install, tools
from support.reader import Reader, lines
from support.resources import route
from support.tls import issue

INDEX = "http://packages.docs.svc:8080/simple"
ENV = f'env: [{{name: UV_DEFAULT_INDEX, value: "{INDEX}"}}]'
REPLACED = {
    r"https://(?:\w+\.)?example\.com/mcp": "http://elsewhere.docs.svc:8080/mcp",
    r"(?m)^( *)command: uvx$": rf"\1command: uvx\n\1{ENV}",
    r"command: uvx,": f"command: uvx, {ENV},",
}
MONITORS = tuple(
    (kind, f"{kind.lower()}s", "monitoring.coreos.com", "v1")
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")
)
GITOPS = (
    ("Kustomization", "kustomizations", "kustomize.toolkit.fluxcd.io", "v1"),
    ("Application", "applications", "argoproj.io", "v1alpha1"),
)


@pytest.fixture(scope="module")
def home() -> Iterator[Namespace]:
    """The reader's namespace, with a package index and a server that stands for those elsewhere."""
    kubectl("delete", "namespace", "docs", "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", "docs")
    kubectl("label", "namespace", "docs", "mcp-operator.test=yes")
    namespace = Namespace("docs")
    elsewhere = backend_objects("elsewhere", TOOLS="read,find_order")
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *elsewhere)
    namespace.run("rollout", "status", "deployment/packages", "--timeout=90s")
    namespace.run("rollout", "status", "deployment/elsewhere", "--timeout=90s")
    yield namespace
    kubectl("delete", "namespace", "docs", "--wait=false")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, home: Namespace) -> Iterator[Reader]:
    """Changes the installation; afterwards it is as other tests have it."""
    kubeconfig = kubectl("config", "view", "--raw", "--flatten")
    made = Reader(tmp_path_factory.mktemp("docs"), home.name, kubeconfig, REPLACED)
    values = ROOT / "tests" / "e2e" / "values.yaml"
    made.program("helm", f'[ "$1" = upgrade ] && set -- "$@" --values {values}\nexec {{real}} "$@"')
    yield made
    install()


@pytest.fixture(scope="module")
def readme(reader: Reader, home: Namespace) -> Namespace:
    """What the README's two commands make."""
    reader.write("README.md")
    installing, _ = scenario("cluster-readme")
    reader.run(installing.commands)
    home.wait("mcpp", "tools", "Ready", timeout=150)
    home.wait("mcps", "time", "Ready")
    return home


@contextmanager
def made(name: str) -> Iterator[Namespace]:
    """A namespace for as long as a page's commands need it; the product's own check waits until it is gone."""
    kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "mcp-operator.test=yes")
    try:
        yield Namespace(name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def test_the_readme(reader: Reader, readme: Namespace) -> None:
    """Two commands and a manifest make an endpoint that answers."""
    url = readme.service_url("tools-proxy", "/mcp")
    eventually(lambda: "time_get_current_time" in tools(url), why=lambda: tools(url))
    assert "Europe/Berlin" in call(url, "time_get_current_time", timezone="Europe/Berlin")
    _, looking = scenario("cluster-readme")
    shown = reader.run(looking.commands)
    headings = [line.split() for line in looking.text.splitlines() if line.startswith("NAME ")]
    assert [line.split() for line in shown.splitlines() if line.startswith("NAME ")] == headings


def test_looking_at_it(reader: Reader, readme: Namespace) -> None:
    """What the pages on conditions, operations, health and the commands say to type, on what the README has made."""
    for line in lines(*scenario("cluster-look")):
        reader.run(line, codes=(0, 1) if "mcp-operator plan" in line else (0,))  # 1: something would change
    eventually(lambda: readme.get("mcps", "time")["status"].get("restartsReset"))


SAID_NOT_RUN = {
    "kubectl -n mcp-system logs job/mcp-operator-crds": "there only after it has failed",
    "kubectl -n team-a delete pod": "of a pod that the reader names",
    "kubectl -n team-a describe certificate": "needs cert-manager",
    "kubectl apply -f secrets.yaml -f servers.yaml": "docs/desktop-clients.md has it in a namespace of its own",
    "kubectl get configmap tools-proxy-config -o jsonpath='{.binaryData.config\\.json\\.gz}' | base64 -d | gunzip": (
        "of a configuration over 900 KiB"
    ),
    "kubectl logs deploy/notes-server": "of an image that there is not; deployment/time-server is asked in the same words",
    "kubectl patch --type strategic": "a form; no command",
    "kubectl patch crd mcpservers.mcp-operator.dev --subresource=status --type=merge -p "
    """'{"status":{"storedVersions":["v1beta1"]}}'""": "of a version that there is not yet",
    "mcp-operator import --secrets-file": "a form; no command",
    "mcp-operator proxy --config": "a form; no command",
}
SAID_LATER = ("files-pins", "rollout restart", "team-a")
"""What other tests of this file run, as it is about something that they make."""


def test_what_the_text_says_to_type(reader: Reader, readme: Namespace) -> None:
    """Commands between backticks, on what the README has made."""
    assert set(SAID_NOT_RUN) <= set(SAID)
    here = [text for text in SAID if text not in SAID_NOT_RUN and not any(word in text for word in SAID_LATER)]
    assert len(here) > 15
    for text in here:
        reader.run(text)
    readme.wait("mcpp", "tools", "Programmed", "Unknown", reason="Paused")
    reader.run("kubectl annotate mcpp tools mcp-operator.dev/paused-")
    for text in (text for text in SAID if "rollout restart" in text):
        reader.run(text)
    readme.wait("mcpp", "tools", "Ready")
    readme.run("rollout", "status", "deployment/time-server", "--timeout=90s")


def test_pinning(reader: Reader, home: Namespace) -> None:
    """The manifest of the page, its look at what is not approved, what is recorded, and both ways to approve it."""
    (server,) = [body for body in reader.manifests("docs/pinning.md") if body["kind"] == "McpServer"]
    home.apply(server)
    home.wait("mcps", "files", "DefinitionsPinned")
    looking, approving = scenario("cluster-pinning")
    assert reader.run(looking.commands) == "", "nothing waits for approval"
    (recorded,) = [text for text in SAID if "files-pins" in text]
    assert "read" in reader.run(recorded)
    pinned = home.get("mcps", "files")["status"]["definitions"]["pinned"]
    (digest,) = [pin["digest"] for pin in pinned if pin["tool"] == "read"]
    for line in lines(approving):
        reader.run(line.replace("sha256:…", digest))
        eventually(lambda: "mcp-operator.dev/approve" not in home.run("get", "mcps", "files", "-o", "yaml"))
    home.delete("mcps", "files")


def test_a_desktop_client(reader: Reader) -> None:
    """The import of the page goes into a namespace of its own; what needs packages need not start here."""
    reader.write("docs/desktop-clients.md")
    (imported,) = scenario("desktop", "docs/cli.md")
    reader.run(imported.commands)
    kubectl("delete", "namespace", "tools", "--ignore-not-found", "--wait=true")
    try:
        for block in scenario("cluster-desktop"):
            reader.run(block.commands)
        kubectl("label", "namespace", "tools", "mcp-operator.test=yes")
        namespace = Namespace("tools")
        namespace.wait("mcps", "docs", "Ready")
        assert {body["metadata"]["name"] for body in namespace.listed("mcps")} == {"time", "github-issues", "docs"}
    finally:
        kubectl("delete", "namespace", "tools", "--wait=false", "--ignore-not-found")


@pytest.mark.parametrize("test", ["cluster-scale-out", "cluster-user-oauth"])
def test_guides_with_stores(reader: Reader, home: Namespace, test: str) -> None:
    """Secrets as the guide makes them fit its manifests: nothing is missing (the stores themselves are not there)."""
    first, *rest = scenario(test)
    reader.run(first.commands)
    shown = reversed(list(reader.manifests(first.page)))
    bodies = {(body["kind"], body["metadata"]["name"]): body for body in shown}
    home.apply(*bodies.values())
    try:
        eventually(lambda: home.condition("mcpp", "gateway", "Accepted")["status"] == "True")
        eventually(lambda: home.condition("mcpp", "gateway", "ResolvedRefs")["status"] != "Missing")
        assert home.condition("mcpp", "gateway", "ResolvedRefs")["reason"] != "RefNotFound"
        assert home.condition("mcpp", "gateway", "ServicesNotShared")["status"] == "Missing"
        for block in rest:
            reader.run(block.commands)
    finally:
        home.run("delete", "mcpp,mcps", *{name for _, name in bodies}, "--ignore-not-found")
        home.run("delete", "secret", "gateway-stores", "gateway-oauth", "--ignore-not-found")


def test_the_image_alone(reader: Reader, home: Namespace) -> None:
    """A pod stands for the container engine: the command's variables are the container's, its ports the pod's."""
    (block,) = scenario("cluster-image")
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", type=lambda ports: int(ports.rpartition(":")[2]))
    parser.add_argument("-e", action="append")
    parser.add_argument("image")
    given = parser.parse_args(shlex.split(reader.here(block.commands))[2:])
    environment = [f"--env={variable}" for variable in given.e]
    home.run("run", "alone", f"--image={PROXY_IMAGE}", f"--port={given.p}", "--expose", *environment)
    url = home.service_url("alone", "")
    eventually(lambda: tools(f"{url}/mcp") >= {"docs_read", "docs_find_order"}, why=lambda: tools(f"{url}/mcp"))
    (asking,) = [line for line in lines(*scenario("rest")) if line.endswith('"$URL/servers"')]
    assert "docs" in reader.run(f"URL={url}; {asking}")
    home.run("delete", "pod,service", "alone", "--wait=false")


def test_gitops(reader: Reader) -> None:
    """Flux's and Argo CD's objects, and the patch of the latter's ConfigMap; the scripts in it run in tests/cluster/test_gitops.py."""
    with open_definitions(kubectl, *GITOPS), made("argocd") as namespace, made("flux-system"):
        namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}})
        for line in lines(*scenario("cluster-gitops")):
            reader.run(line)
        assert len(namespace.get("configmap", "argocd-cm")["data"]) == 3
        assert namespace.listed("applications")


def test_egress(reader: Reader) -> None:
    """The settings reach the operator."""
    (block,) = scenario("cluster-egress")
    reader.run(block.commands)
    (container,) = Namespace(SYSTEM).get("deployment", RELEASE)["spec"]["template"]["spec"]["containers"]
    assert "10.20.0.0/16" in json.dumps(container)


LOOKS_FOR_TROUBLE = re.compile(r"(?: logs | get events ).*\| grep (?!.*(?:in use|seconds))")
"""Finds nothing where nothing is wrong: grep's exit code is 1 then."""
NOT_AN_ERROR = re.compile(r"No resources found|Found \d+ pods|Defaulted container")


@pytest.fixture
def prometheus_operator() -> Iterator[None]:
    """Its kinds alone. Without them Helm could not upgrade a release that has objects of theirs."""
    with open_definitions(kubectl, *MONITORS):
        yield
        install()


def test_monitoring_and_the_runbooks(reader: Reader, prometheus_operator: None) -> None:
    """Everything at once, a proxy that is scraped, and on these what each runbook says to look at."""
    reader.write("docs/monitoring.md")
    (installing,) = scenario("cluster-monitoring")
    reader.run(installing.commands)
    # The operator of before would do what follows, and its log go with it.
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{RELEASE}", "--timeout=90s")
    labels = ("-l", "release=kube-prometheus-stack", "-o", "name")
    assert len(kubectl("-n", SYSTEM, "get", "servicemonitor,prometheusrule", *labels).split()) == 2
    with made("team-a") as namespace:
        _a_team(namespace, reader)
        eventually(lambda: namespace.run("get", "servicemonitor", "tools-proxy", *labels[2:]), timeout=90)
        for line in dict.fromkeys(lines(*scenario(RUNBOOK)) + [text for text in SAID if "describe pod" in text]):
            _runbook(reader, line)
        namespace.delete("mcpp,mcps,mcpr", "--all")


def _a_team(namespace: Namespace, reader: Reader) -> None:
    """What the runbooks speak of: a proxy `tools` as the page on monitoring has it, with the server `files` and the route `all`."""
    (proxy,) = [body for body in reader.manifests("docs/monitoring.md") if body["kind"] == "McpProxy"]
    proxy["spec"]["networkPolicy"] = {"allowFrom": [{"namespaceSelector": {}}]}
    (server,) = [body for body in reader.manifests("docs/kind.md") if body["kind"] == "McpServer"]
    server["metadata"]["name"] = "files"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tools-tls"}}
    issued = issue()
    namespace.apply(
        proxy,
        server,
        route("all", {"name": "files"}),
        secret | {"stringData": {"tls.crt": issued.chain, "tls.key": issued.key}},
    )
    for kind, name in (("mcps", "files"), ("mcpp", "tools"), ("mcpr", "all")):
        namespace.wait(kind, name, "Ready", timeout=120)


def _runbook(reader: Reader, line: str) -> None:
    """A command ends well, and nothing but grep may have found nothing: what is looked for may come a moment later."""
    codes = (0, 1) if LOOKS_FOR_TROUBLE.search(line) else (0,)
    done = reader.attempt(line)
    if "| grep " in line:
        eventually(lambda: reader.attempt(line).returncode in codes, why=lambda: reader.attempt(line))
        done = reader.attempt(line)
    said = [text for text in done.stderr.splitlines() if not NOT_AN_ERROR.search(text)]
    assert done.returncode in codes, f"{line}\n{done.stdout}{done.stderr}"
    assert said == [], line
    if "can-i" in line:
        assert done.stdout == "yes\n", line


def test_kind(reader: Reader, home: Namespace) -> None:
    """From the installation on, the guide's commands are those of any cluster."""
    home.delete("mcpp", "tools")
    eventually(lambda: not home.run("get", "service", "tools-proxy", "--ignore-not-found"))
    reader.write("docs/kind.md")
    *steps, forwarding = scenario("cluster-kind")
    for block in steps:
        reader.run(block.commands)
    address = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    eventually(lambda: "time_get_current_time" in tools(f"http://{address}:30080/mcp"))
    with reader.serving(forwarding.commands, "Forwarding from 127.0.0.1:8080"):
        assert "time_get_current_time" in tools("http://127.0.0.1:8080/mcp")


def test_installing_and_removing(reader: Reader, home: Namespace) -> None:
    """The page on installation, from the default proxy to the last definition."""
    home.delete("mcpp", "tools")
    for block in scenario("cluster-install"):
        reader.run(block.commands)
    url = Namespace(SYSTEM).service_url("tools-proxy", "/mcp")
    eventually(lambda: "time_get_current_time" in tools(url))
    (from_its_folder,) = scenario("cluster-chart")
    reader.run(from_its_folder.commands, folder=str(Path(from_its_folder.page).parent))
    for block in scenario("cluster-uninstall"):
        reader.run(block.commands)
    assert kubectl("get", "crd", "-o", "name").count("mcp-operator.dev") == 0
    eventually(lambda: not Namespace(SYSTEM).pods("app.kubernetes.io/managed-by=mcp-operator"))
