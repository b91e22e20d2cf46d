"""The chart on a real API server: what it installs there, and that its accounts may do what they must and no more.

The operator runs here as a process with the chart's own command line and the token of the chart's ServiceAccount, so these
tests need no image; tests/e2e runs it as a pod.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from support.kubectl import Namespace, eventually, kubectl

from .conftest import CHART, Body, Helm, HelmError

ROOT = CHART.parents[1]
RELEASE = "chart-test"
API_VERSION = meta.API_VERSION
CRD = "mcproutes.mcp-operator.dev"
TOKEN = "sesame-open"

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.timeout(240)]


@contextmanager
def new_namespace() -> Iterator[Namespace]:
    namespace = Namespace(f"chart-{secrets.token_hex(4)}")
    kubectl("create", "namespace", namespace.name)
    try:
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")


@pytest.fixture
def system() -> Iterator[Namespace]:
    """Where a release is installed; it asks for the restricted Pod Security Standard."""
    with new_namespace() as namespace:
        kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
        yield namespace


@pytest.fixture
def team() -> Iterator[Namespace]:
    """A namespace with resources of users."""
    with new_namespace() as namespace:
        yield namespace


@contextmanager
def installed(helm: Helm, system: Namespace, *settings: str) -> Iterator[None]:
    """A release without operator pods."""
    arguments = [word for setting in ("replicas=0", *settings) for word in ("--set", setting)]
    try:
        helm("install", RELEASE, str(CHART), "--namespace", system.name, "--wait", *arguments)
        yield
    finally:
        helm("uninstall", RELEASE, "--namespace", system.name, "--ignore-not-found", "--wait")


@pytest.fixture(params=["cluster", "namespace"])
def scope(request: pytest.FixtureRequest, team: Namespace) -> list[str]:
    """Settings that make the operator watch the whole cluster, or just the team's namespace."""
    return [f"watchNamespaces={{{team.name}}}"] if request.param == "namespace" else []


def account_config(namespace: Namespace, account: str, folder: Path) -> Path:
    """A kubeconfig with the cluster of the ambient one and a token of a ServiceAccount."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = namespace.run("create", "token", account, "--duration=1h").strip()
    config["users"] = [{"name": account, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = account
    path = folder / f"{account}.kubeconfig"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(config))
    return path


def command_environment(config: Path) -> dict[str, str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("operator", "proxy_image"))
    return {**os.environ, "KUBECONFIG": str(config), "PYTHONPATH": paths}


@contextmanager
def operator(system: Namespace, folder: Path) -> Iterator[Path]:
    """The operator of the release, as its Deployment says, beside the cluster. Gives its log."""
    pod = system.get("deployment", f"{RELEASE}-mcp-operator")["spec"]["template"]["spec"]
    arguments = [word.replace("$(POD_NAMESPACE)", system.name) for word in pod["containers"][0]["args"]]
    environment = command_environment(account_config(system, pod["serviceAccountName"], folder))
    log = folder / "operator.log"
    with log.open("w") as stderr:
        command = [sys.executable, "-m", "mcp_operator", "run", *arguments, "--host=127.0.0.1", "--port=0"]
        process = subprocess.Popen(command, env=environment, stderr=stderr)
        try:
            yield log
            assert process.poll() is None, log.read_text()[-4000:]
        finally:
            process.terminate()
            process.wait(timeout=60)


def server(name: str, **spec: Any) -> Body:
    return {"apiVersion": API_VERSION, "kind": "McpServer", "metadata": {"name": name}, "spec": spec}


CONTAINER = {"image": "example.invalid/none:1", "port": 8080}
REMOTE = {
    "url": "http://127.0.0.1:9/mcp",
    "headers": [{"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "login", "key": "token"}}}],
}


def may(user: str, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    """Whether `user` may, with the one of that `name`; `resource` as `group/plural` or `group/plural/subresource`, the core group as ""."""
    group, plural, *rest = resource.split("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": "".join(rest),
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = json.loads(kubectl("create", "-f", "-", "-o", "json", body=review))
    return bool(answer["status"]["allowed"])


def test_the_account_suffices(helm: Helm, system: Namespace, team: Namespace, scope: list[str], tmp_path: Path) -> None:
    """A proxy, a hosted and a remote server live and change under the operator; nothing is forbidden to it."""
    proxy = ["defaultProxy.enabled=true", f"defaultProxy.namespace={team.name}"]
    account = f"system:serviceaccount:{system.name}:{RELEASE}-mcp-operator"
    with ExitStack() as stack:
        stack.enter_context(installed(helm, system, *scope, *proxy))
        servers, lease = f"{meta.GROUP}/mcpservers", f"{RELEASE}-mcp-operator-leader"
        eventually(lambda: may(account, "list", servers, team.name))  # roles are heeded a moment after they are written
        eventually(lambda: may(account, "update", "coordination.k8s.io/leases", system.name, lease))
        log = stack.enter_context(operator(system, tmp_path))
        team.run("create", "secret", "generic", "login", f"--from-literal=token={TOKEN}")
        team.apply(yaml.safe_dump(server("hosted", container=CONTAINER)))
        team.apply(yaml.safe_dump(server("far", remote=REMOTE)))

        def told() -> bool:
            if "rbidden" in log.read_text():
                pytest.fail(log.read_text()[-4000:])
            statuses = [team.get("mcps", "hosted"), team.get("mcps", "far"), team.get("mcpp", "tools")]
            return all("observedGeneration" in body.get("status", {}) for body in statuses)

        eventually(told, timeout=60, why=lambda: log.read_text()[-4000:])
        for kind in ("deployment", "service", "serviceaccount"):
            eventually(lambda kind=kind: team.get(kind, "tools-proxy"))
        eventually(lambda: TOKEN_IN_BASE64 in json.dumps(team.get("secret", "tools-proxy-secrets")["data"]))
        eventually(lambda: "far" in team.get("configmap", "tools-proxy-config")["data"]["config.json"])

        team.apply(yaml.safe_dump(server("hosted", remote={"url": "http://127.0.0.1:9/mcp"})))
        eventually(lambda: not team.listed("deployments,services", f"{meta.LABEL_SERVER}=hosted"))
        eventually(
            lambda: [event for event in team.listed("events") if event["source"].get("component") == "mcp-operator"]
        )
        assert system.get("lease", lease)["spec"]["holderIdentity"]
        assert "rbidden" not in log.read_text()
        assert TOKEN not in log.read_text()


TOKEN_IN_BASE64 = "c2VzYW1lLW9wZW4"


def test_the_account_may_no_more(helm: Helm, system: Namespace, team: Namespace) -> None:
    account = f"system:serviceaccount:{system.name}:{RELEASE}-mcp-operator"
    with installed(helm, system, f"watchNamespaces={{{team.name}}}"):
        eventually(lambda: may(account, "patch", "/pods", team.name))
        assert may(account, "list", "/secrets", team.name)
        assert may(account, "patch", f"{meta.GROUP}/mcpproxies/status", team.name)
        assert not may(account, "list", "/secrets", system.name)
        assert not may(account, "list", f"{meta.GROUP}/mcpservers", "default")
        for verb, resource in [
            ("create", "/pods"),
            ("create", "/pods/exec"),
            ("get", "/pods/log"),
            ("create", "rbac.authorization.k8s.io/rolebindings"),
            ("create", "/serviceaccounts/token"),
            ("create", f"{meta.GROUP}/mcpservers"),
            ("patch", f"{meta.GROUP}/mcpproxies"),
            ("delete", f"{meta.GROUP}/mcpproxies"),
        ]:
            assert not may(account, verb, resource, team.name), f"{verb} {resource}"


def test_the_pods_are_admitted_as_restricted(helm: Helm, system: Namespace) -> None:
    with installed(helm, system):
        template = system.get("deployment", f"{RELEASE}-mcp-operator")["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}, "spec": template["spec"]}
        system.run("create", "--dry-run=server", "-f", "-", body=pod)


def test_the_default_proxy_goes_with_the_release_and_the_crds_stay(helm: Helm, system: Namespace) -> None:
    with installed(helm, system, "defaultProxy.enabled=true"):
        assert system.get("mcpp", "tools")["spec"]["servers"] == {"selector": {}}
        helm(
            "upgrade", RELEASE, str(CHART), "-n", system.name, "--reuse-values", "--set", "defaultProxy.spec.path=/all"
        )
        assert system.get("mcpp", "tools")["spec"]["path"] == "/all"
    assert not system.listed("mcp,leases,serviceaccounts,roles,rolebindings", "app.kubernetes.io/instance=" + RELEASE)
    kubectl("get", "crd", CRD)


def test_a_wrong_default_proxy_is_refused_by_the_api_server(helm: Helm, system: Namespace) -> None:
    wrong = installed(helm, system, "defaultProxy.enabled=true", "defaultProxy.spec.path=/metrics")
    with pytest.raises(HelmError, match=r"spec\.path: .*must not be one of the proxy's own"), wrong:
        pass


def test_editors_of_a_namespace_edit_its_servers(helm: Helm, system: Namespace, team: Namespace) -> None:
    servers = f"{meta.GROUP}/mcpservers"
    with installed(helm, system):
        for role, person in (("view", "viewer"), ("edit", "editor")):
            team.run("create", "rolebinding", person, f"--clusterrole={role}", f"--user={person}")
        eventually(lambda: may("editor", "create", servers, team.name))
        eventually(lambda: may("viewer", "list", servers, team.name))
        assert not may("viewer", "create", servers, team.name)
        assert not may("editor", "create", servers, system.name)


def test_out_of_date_crds_are_applied_before_an_upgrade(helm: Helm, system: Namespace, tmp_path: Path) -> None:
    """Helm plans the Job only where a CRD differs; its command, with its own account, makes the CRD the chart's again."""
    column = {"name": "Stale", "type": "string", "jsonPath": ".metadata.name"}
    with installed(helm, system):
        assert "kind: Job" not in upgrade_plan(helm, system)
        patch = [{"op": "add", "path": "/spec/versions/0/additionalPrinterColumns/-", "value": column}]
        kubectl("patch", "crd", CRD, "--type=json", "-p", json.dumps(patch))
        plan = upgrade_plan(helm, system)
        assert f"mcp-operator.dev/out-of-date: {CRD}\n" in plan
        hooks = [body for body in hooks_of(plan) if body["kind"] != "Job"]
        (job,) = [body for body in hooks_of(plan) if body["kind"] == "Job"]
        kubectl("apply", "-f", "-", body=hooks)
        try:
            pod = job["spec"]["template"]["spec"]
            config = account_config(system, pod["serviceAccountName"], tmp_path)
            program, *arguments = pod["containers"][0]["command"]
            assert program == "mcp-operator"
            command = [sys.executable, "-m", "mcp_operator", *arguments]
            done = subprocess.run(command, env=command_environment(config), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        finally:
            kubectl("delete", "-f", "-", body=hooks)
        columns = json.loads(kubectl("get", "crd", CRD, "-o", "json"))["spec"]["versions"][0][
            "additionalPrinterColumns"
        ]
        assert column not in columns
        assert "kind: Job" not in upgrade_plan(helm, system)


def upgrade_plan(helm: Helm, system: Namespace) -> str:
    return helm("upgrade", RELEASE, str(CHART), "-n", system.name, "--reuse-values", "--dry-run=server")


def hooks_of(plan: str) -> list[Body]:
    text = plan.partition("\nHOOKS:\n")[2].partition("\nMANIFEST:\n")[0]
    return [body for body in yaml.safe_load_all(text) if body]
