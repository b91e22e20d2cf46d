"""The objects that shall exist: golden files, and what holds for all of them.

golden/*.in.yaml (a server or a proxy) → *.out.yaml (its children, in the order of their writing)
all: names that fit · owner and labels · nothing that others may own · no API token · security context · selectors that match
files: a mount for each folder, none inside another · podTemplate: merged, refused
the hash: equal for equal objects · secrets: only in the Secret · a restart, or another environment, changes the pod template alone
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer, parse
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.desired import HostingSettings, proxy_objects, server_objects
from mcp_operator.desired.drift import drifted, with_hash
from mcp_operator.desired.files import by_folder
from mcp_operator.desired.podtemplate import PodTemplateRefused
from mcp_operator_proxy.egress import Egress
from support import golden, models, resources

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))
SETTINGS = HostingSettings(proxy_image="proxy:1", runner_image="runner:1", image_pull_secrets=("pull",))
Body = dict[str, Any]


def compiled(proxy: McpProxy) -> Compiled:
    """It serves one server with a header from a Secret."""
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    header = [{"name": "Authorization", "valueFrom": source}]
    return compile_proxy(
        proxy,
        routes=[],
        servers=[models.server(resources.remote("guarded", "https://x/mcp", headers=header))],
        objects=dict([models.secret("token", header="Bearer s3cr3t")]),
        url_of=cluster_url,
    )


def children(case: str) -> list[Body]:
    (body,) = golden.documents(FOLDER / f"{case}.in.yaml")
    owner = parse(models.stored(body), strict=True)
    if isinstance(owner, McpServer):
        return server_objects(owner, SETTINGS, identity=b"k" * 32)
    assert isinstance(owner, McpProxy)
    return proxy_objects(owner, compiled(owner), SETTINGS)


EACH = [pytest.param(child, id=f"{case}-{child['kind']}") for case in CASES for child in children(case)]
DEPLOYMENTS = [
    pytest.param(child, id=case) for case in CASES for child in children(case) if child["kind"] == "Deployment"
]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    golden.check(FOLDER / f"{case}.out.yaml", children(case))


@pytest.mark.parametrize("child", EACH)
def test_every_child_belongs_to_its_owner(child: Body) -> None:
    metadata = child["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["apiVersion"], owner["controller"], owner["blockOwnerDeletion"]) == (meta.API_VERSION, True, True)
    assert owner["uid"]
    assert metadata["namespace"] == models.NAMESPACE
    assert metadata["labels"][meta.LABEL_MANAGED_BY] == meta.MANAGED_BY
    assert metadata["labels"][meta.LABEL_INSTANCE] == owner["name"]


@pytest.mark.parametrize("child", EACH)
def test_nothing_is_set_that_others_own(child: Body) -> None:
    """The API server, autoscalers, `kubectl rollout restart`, load balancers: their fields are not named."""
    assert child.keys() <= {"apiVersion", "kind", "metadata", "spec", "data", "type", "automountServiceAccountToken"}
    assert child["metadata"].keys() <= {"name", "namespace", "labels", "annotations", "ownerReferences"}
    if child["kind"] == "Service":
        assert child["spec"].keys() <= {"type", "clusterIP", "selector", "ports"}
        assert child["spec"].get("clusterIP", "None") == "None"
    text = json.dumps(child)
    assert ": null" not in text
    assert "restartedAt" not in text


@pytest.mark.parametrize("child", EACH)
def test_secrets_stand_in_the_secret_alone(child: Body) -> None:
    assert "s3cr3t" not in json.dumps(child)
    assert ("QmVhcmVyIHMzY3IzdA==" in json.dumps(child)) == (
        child["kind"] == "Secret" and child["metadata"]["name"].endswith("-proxy-secrets")
    )


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_pods_are_confined(deployment: Body) -> None:
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        if container["name"] == "log":
            continue  # the user's own, beside the generated ones
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        if container["image"] in {"proxy:1", "runner:1"}:
            assert security["runAsNonRoot"] is True
            assert security["readOnlyRootFilesystem"] is True
    assert pod["imagePullSecrets"][0] == {"name": "pull"}, "the installation's, and once"
    assert len({secret["name"] for secret in pod["imagePullSecrets"]}) == len(pod["imagePullSecrets"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_selectors_match_their_pods_and_never_change(deployment: Body) -> None:
    spec = deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert len(spec["selector"]["matchLabels"]) == 1
    assert meta.LABEL_MANAGED_BY in labels, "else its pods are not watched"


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_config_change_rolls_no_pods(deployment: Body) -> None:
    """The pod is shown its annotation; the template does not set it."""
    pod = {key: value for key, value in deployment["spec"]["template"]["spec"].items() if key != "volumes"}
    rest = {**deployment["spec"]["template"], "spec": pod}
    assert meta.ANNOTATION_REVISION not in json.dumps([deployment["metadata"], rest])


def test_names_fit() -> None:
    longest = "a" * meta.NAME_MAX_LENGTH
    proxy = models.proxy(resources.proxy(longest))
    bodies = [
        *server_objects(models.server(resources.container(longest, "x")), SETTINGS),
        *proxy_objects(proxy, compiled(proxy), SETTINGS),
    ]
    for body in bodies:
        limit = 253 if body["kind"] in {"Secret", "ConfigMap"} else 63
        assert len(body["metadata"]["name"]) <= limit
    assert len({(body["kind"], body["metadata"]["name"]) for body in bodies}) == len(bodies)


def test_a_restart_changes_the_pod_template_alone() -> None:
    server = models.server(resources.container("near", "image:1"))
    at = datetime(2026, 1, 2, tzinfo=UTC)
    before, after = server_objects(server, SETTINGS), server_objects(server, SETTINGS, restarted_at=at)
    assert before[1] == after[1]
    annotations = after[0]["spec"]["template"]["metadata"].pop("annotations")
    assert before[0] == after[0]
    assert annotations == {meta.ANNOTATION_RESTARTED_AT: "2026-01-02T00:00:00+00:00"}


def test_another_environment_changes_the_pod_template_alone() -> None:
    server = models.server(resources.container("near", "image:1"))
    before, after = (server_objects(server, SETTINGS, environment=digest) for digest in ("one", "two"))
    assert before[1] == after[1]
    annotations = [body[0]["spec"]["template"]["metadata"].pop("annotations") for body in (before, after)]
    assert before[0] == after[0]
    assert annotations == [{meta.ANNOTATION_ENVIRONMENT: "one"}, {meta.ANNOTATION_ENVIRONMENT: "two"}]


def test_a_pod_template_that_takes_away_is_refused() -> None:
    template = {"spec": {"containers": [{"name": "server", "image": "another"}]}}
    with pytest.raises(PodTemplateRefused, match="gets its image from the resource"):
        server_objects(models.server(resources.container("near", "image:1", podTemplate=template)), SETTINGS)


@pytest.mark.parametrize(
    ("paths", "folders"),
    [
        (["/a/b", "/a/c"], {"/a": ["b", "c"]}),
        (["/a/b", "/c/d"], {"/a": ["b"], "/c": ["d"]}),
        (["/a/x/y/b", "/a/c"], {"/a": ["c", "x/y/b"]}),
        (["/a/x/b", "/a/y/c"], {"/a/x": ["b"], "/a/y": ["c"]}),
        (["/a/b/c", "/a/bb/c"], {"/a/b": ["c"], "/a/bb": ["c"]}),
    ],
)
def test_no_folder_of_files_is_inside_another_one(paths: list[str], folders: dict[str, list[str]]) -> None:
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    files = [{"path": path, "valueFrom": source} for path in paths]
    body = resources.container("near", "image:1")
    body["spec"]["container"]["files"] = files
    spec = models.server(body).spec.container
    assert spec
    assert {folder: [name for name, _ in held] for folder, held in by_folder(spec.files).items()} == folders


def test_a_remote_server_has_no_children() -> None:
    assert server_objects(models.server(resources.remote("far", "https://x/mcp")), SETTINGS) == []


def test_equal_objects_have_equal_hashes() -> None:
    one, other = children("proxy"), children("proxy")
    assert [with_hash(body) for body in one] == [with_hash(dict(reversed(body.items()))) for body in other]
    assert not any(drifted(with_hash(body), with_hash(body)) for body in one)


def test_retained_secrets_never_win() -> None:
    proxy = models.proxy(resources.proxy(selector={}))
    outcome = compiled(proxy)
    (file,) = outcome.secrets
    bodies = proxy_objects(proxy, outcome, SETTINGS, retained={"old": "b2xk", file: "b2xk"})
    (held,) = [body for body in bodies if body["kind"] == "Secret"]
    assert held["data"] == {"old": "b2xk", file: "QmVhcmVyIHMzY3IzdA=="}


@pytest.mark.parametrize(
    ("egress", "told"),
    [
        (None, {}),
        (Egress(), {"EGRESS": "enforce", "EGRESS_ALLOW": "", "CLUSTER_DOMAIN": "cluster.local"}),
        (
            Egress.of(["10.0.0.0/8", "fd00::/8"], loopback=True, cluster_domain="example.org"),
            {"EGRESS": "enforce", "EGRESS_ALLOW": "loopback,10.0.0.0/8,fd00::/8", "CLUSTER_DOMAIN": "example.org"},
        ),
    ],
)
def test_proxies_are_told_the_egress_rule(egress: Egress | None, told: dict[str, str]) -> None:
    proxy = models.proxy(resources.proxy("tools"))
    settings = HostingSettings("proxy:1", "runner:1", egress=egress)
    (deployment,) = [o for o in proxy_objects(proxy, compiled(proxy), settings) if o["kind"] == "Deployment"]
    env = {v["name"]: v.get("value") for v in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    names = ("EGRESS", "EGRESS_ALLOW", "CLUSTER_DOMAIN")
    assert {name: env[f"MCP_PROXY_{name}"] for name in names if f"MCP_PROXY_{name}" in env} == told
