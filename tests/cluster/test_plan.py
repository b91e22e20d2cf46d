"""`mcp-operator plan` and `import` against a real API server: its defaults, its refusals, and that nothing is written.

No operator runs; its part is played by what the plan says, applied by kubectl under the operator's field manager.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from support import resources
from support.kubectl import eventually
from support.manifests import EXAMPLES

from .conftest import Kubectl

CORE = {"team": "core"}
IMAGES = ("--proxy-image", "proxy:1", "--runner-image", "runner:1")
pytestmark = pytest.mark.timeout(300)
CLIENT = Path(__file__).parents[1] / "unit" / "cli" / "clients" / "desktop.json"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mcp_operator", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)


def plan(kubectl: Kubectl, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("plan", "-n", kubectl.namespace, *IMAGES, *arguments)


def changes(kubectl: Kubectl, *arguments: str) -> list[dict[str, Any]]:
    done = plan(kubectl, *arguments, "-o", "json")
    assert done.returncode in {0, 1}, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{change['action']} {change['kind']}/{change['name']}" for change in found]


def write(folder: Path, *bodies: Mapping[str, Any]) -> str:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def everything(kubectl: Kubectl) -> Any:
    kinds = "mcpservers,mcpproxies,mcproutes,deployments,services,configmaps,secrets,serviceaccounts"
    listed = kubectl.json("get", kinds, "--show-managed-fields")["items"]
    return {f"{body['kind']}/{body['metadata']['name']}": body["metadata"]["resourceVersion"] for body in listed}


@pytest.mark.parametrize("folder", ["quickstart", "container", "remote", "routes"])
def test_every_example_can_be_planned_and_nothing_is_written(kubectl: Kubectl, folder: str) -> None:
    # What the cluster's controllers make in each namespace; they take their time.
    kubectl.eventually("get", "serviceaccounts/default", "configmaps/kube-root-ca.crt", seconds=60)
    before = everything(kubectl)
    found = changes(kubectl, "-f", str(EXAMPLES / folder))
    assert found
    assert {change["action"] for change in found} == {"create"}
    assert everything(kubectl) == before


def test_a_life(kubectl: Kubectl, tmp_path: Path) -> None:
    """New → applied as planned: at rest → edited by hand: drift → another image in the file → gone from the files."""
    server = resources.container("near", "near:1", labels=CORE, env={"A": "b"}, limits={"concurrentCalls": 7})
    path = write(tmp_path, server, resources.proxy(selector=CORE))
    planned = changes(kubectl, "-f", path)
    assert names(planned)[:2] == ["create McpServer/near", "create McpProxy/tools"]
    assert {"create Deployment/near-server", "create ConfigMap/tools-proxy-config"} <= set(names(planned))
    kubectl("apply", "-f", path)
    play_the_operator(kubectl, path)
    assert plan(kubectl).returncode == 0, plan(kubectl).stdout
    assert changes(kubectl, "-f", path) == []

    kubectl("scale", "deployment/near-server", "--replicas=0")
    (drift,) = changes(kubectl)
    assert names([drift]) == ["change Deployment/near-server"]
    assert "-  replicas: 0\n+  replicas: 1\n" in drift["diff"]
    kubectl("scale", "deployment/near-server", "--replicas=1")

    bare = resources.container("near", "near:2", labels=CORE)
    image, *children = changes(kubectl, "-f", write(tmp_path, bare))
    assert "concurrentCalls: 7" in image["diff"], "what the file no longer says goes back to the default"
    assert {"-    image: near:1", "+    image: near:2"} <= set(image["diff"].splitlines())
    assert {"change Deployment/near-server"} <= set(names(children))
    assert "near:2" in next(c["diff"] for c in children if c["kind"] == "Deployment")


def test_an_autoscaler_takes_over_the_number_of_pods_as_it_is(kubectl: Kubectl, tmp_path: Path) -> None:
    path = write(tmp_path, resources.proxy("scaled", selector=CORE, replicas=4))
    kubectl("apply", "-f", path)
    play_the_operator(kubectl, path)
    autoscaled = write(tmp_path, resources.proxy("scaled", selector=CORE, autoscaling={"targetCPUUtilization": 70}))
    found = {f"{change['kind']}/{change['name']}": change for change in changes(kubectl, "-f", autoscaled)}
    assert found["HorizontalPodAutoscaler/scaled-proxy"]["action"] == "create"
    lines = found.get("Deployment/scaled-proxy", {"diff": ""})["diff"].splitlines()
    assert [line for line in lines if line[:1] in "+-" and "replicas" in line] == []


def test_what_the_api_server_says_in_another_way(kubectl: Kubectl, tmp_path: Path) -> None:
    """A `false` that is a default, a quantity in another form: before they are there, and at rest when they are."""
    words = {"team": "words"}
    server = resources.container("worded", "worded:1", labels=words)
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}}]
    server["spec"]["podTemplate"] = {"spec": {"hostNetwork": False, "volumes": volumes}}
    path = write(tmp_path, server, resources.proxy("worded", selector=words, autoscaling={"targetSessions": 1000}))
    assert {"create Deployment/worded-server", "create HorizontalPodAutoscaler/worded-proxy"} <= set(
        names(changes(kubectl, "-f", path))
    )
    kubectl("apply", "-f", path)
    play_the_operator(kubectl, path)
    assert [name for name in names(changes(kubectl, "-f", path)) if "worded" in name] == []


def play_the_operator(kubectl: Kubectl, path: str) -> None:
    """Apply what the operator would: the objects of `render`, owned by their resources."""
    done = command("render", "-f", path, "-n", kubectl.namespace, *IMAGES, "--show-secrets")
    assert done.returncode == 0, done.stderr
    for body in yaml.safe_load_all(done.stdout):
        labels = body["metadata"]["labels"]
        kind = "McpServer" if meta.LABEL_SERVER in labels else "McpProxy"
        name = labels.get(meta.LABEL_SERVER) or labels[meta.LABEL_PROXY]
        owner = kubectl.json("get", kind.lower(), name)
        body["metadata"]["ownerReferences"] = [
            {
                "apiVersion": meta.API_VERSION,
                "kind": kind,
                "name": name,
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        kubectl("apply", "--server-side", f"--field-manager={meta.FIELD_MANAGER}", "-f", "-", body=body)


POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-forbidden-names"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
            ]
        },
        "validations": [
            {"expression": "!object.metadata.name.startsWith('forbidden')", "message": "the platform team says no"}
        ],
    },
}


@pytest.fixture
def policy(kubectl: Kubectl) -> Iterator[None]:
    """An admission policy of the namespace, from when it is in force."""
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}}
    name = POLICY["metadata"]["name"]  # type: ignore[index]
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}
    binding = {**POLICY, "kind": "ValidatingAdmissionPolicyBinding", "spec": spec}
    for body in (POLICY, binding):
        kubectl("apply", "-f", "-", body=body)
    trial = ("create", "deployment", "forbidden", "--image=x", "--dry-run=server")
    eventually(lambda: kubectl.attempt(*trial).returncode != 0, timeout=30)
    yield
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        kubectl("delete", kind, name)


def test_what_admission_refuses_is_said(kubectl: Kubectl, policy: None, tmp_path: Path) -> None:
    path = write(tmp_path, resources.container("forbidden", "a:1"), resources.container("welcome", "a:1"))
    done = plan(kubectl, "-f", path, "-o", "names")
    assert done.returncode == 2
    assert f"refused: {path}:1: McpServer {kubectl.namespace}/forbidden: " in done.stderr
    assert "the platform team says no" in done.stderr
    assert f"create Deployment {kubectl.namespace}/welcome-server" in done.stdout


def test_a_namespace_that_does_not_exist(kubectl: Kubectl, tmp_path: Path) -> None:
    path = write(tmp_path, resources.container("near", "near:1"))
    done = command("plan", "-n", "not-there", *IMAGES, "-f", path, "-o", "names")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "create McpServer not-there/near",
        "create Deployment not-there/near-server",
        "create Service not-there/near-server",
    ]
    assert "namespace not-there does not exist" in done.stderr


def test_who_may_not_write_is_told(kubectl: Kubectl, tmp_path: Path) -> None:
    """A dry run needs the rights of the real thing."""
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={kubectl.namespace}:reader")
    token = kubectl("create", "token", "reader").strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify"))
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "reader").write_text(yaml.safe_dump(config))
    path = write(tmp_path, resources.container("near", "near:1"))
    done = plan(kubectl, "-f", path, "--kubeconfig", str(tmp_path / "reader"))
    assert done.returncode == 2
    assert "not allowed" in done.stderr
    assert token not in done.stderr


def test_what_is_imported_is_admitted(kubectl: Kubectl, tmp_path: Path) -> None:
    done = command("import", str(CLIENT), "--secrets-file", str(tmp_path / "secrets.yaml"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "servers.yaml").write_text(done.stdout)
    for path in ("secrets.yaml", "servers.yaml"):
        kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(tmp_path / path))
    assert plan(kubectl, "-f", str(tmp_path), "-o", "names").returncode == 1
