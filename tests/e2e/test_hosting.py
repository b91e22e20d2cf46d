"""Hosted servers on a real node: an image of the user's over stdio, its environment, its files, its restarts, its rollouts."""

import asyncio
from typing import Any

from support.kubectl import Namespace, eventually
from support.product import PLAIN_IMAGE, call, tools
from support.resources import proxy, stdio
from support.traffic import Crowd

CORE = {"team": "core"}
SERVER = "mcp-operator.dev/server=plain"
DATA = [
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
        "data": {"GREETING": "good day", "text": "one"},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"TOKEN": "first"}},
]


def plain(**stdio_fields: Any) -> dict[str, Any]:
    body = stdio("plain", "/opt/venv/bin/python", "/srv/plain.py", labels=CORE)
    body["spec"]["stdio"] |= {"image": PLAIN_IMAGE, "imagePullPolicy": "IfNotPresent", **stdio_fields}
    return body


def started(namespace: Namespace, *bodies: dict[str, Any]) -> str:
    """Apply, wait, and give the URL of a proxy that serves the server."""
    namespace.apply(*bodies, proxy(selector=CORE))
    namespace.wait("mcps", "plain", "Ready", timeout=120)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "plain_hello" in tools(url))
    return url


def restarts(namespace: Namespace) -> dict[str, int]:
    """Restarts of the containers of the one pod, by their names."""
    (pod,) = namespace.pods(SERVER)
    return {status["name"]: status["restartCount"] for status in pod["status"]["containerStatuses"]}


def test_an_image_without_a_shell_serves_over_stdio(namespace: Namespace) -> None:
    """Environment and files from Secrets and ConfigMaps; a process that ends comes back in its pod."""
    sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}, "prefix": "MY_"}]
    files = [
        {"path": "/etc/plain/text", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "text"}}},
        {"path": "/etc/plain/deep/token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "TOKEN"}}},
    ]
    url = started(namespace, *DATA, plain(envFrom=sources, files=files))
    assert call(url, "plain_hello") == "plain/good day"
    assert call(url, "plain_variable", name="MY_TOKEN") == "first"
    assert call(url, "plain_read", path="/etc/plain/text") == "one"
    assert call(url, "plain_read", path="/etc/plain/deep/token") == "first"
    assert restarts(namespace) == {"server": 0, "bridge": 0}
    (before,) = namespace.pods(SERVER)

    since = call(url, "plain_start_time")
    try:
        answer = call(url, "plain_die")
    except Exception as error:  # noqa: BLE001 - whichever way the client tells
        answer = str(error)
    assert "MCP server plain ended" in answer
    eventually(lambda: call(url, "plain_start_time") != since, timeout=90)
    # The kubelet tells of a container a moment after it has started it.
    eventually(lambda: restarts(namespace) == {"server": 1, "bridge": 0}, why=lambda: restarts(namespace))

    namespace.apply({**DATA[0], "data": {"GREETING": "good day", "text": "two"}})
    eventually(lambda: call(url, "plain_read", path="/etc/plain/text") == "two")
    # envFrom has the whole ConfigMap, so there is another pod after a while.
    eventually(lambda: before["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in namespace.pods(SERVER)})


def test_a_file_changes_in_a_running_pod(namespace: Namespace) -> None:
    files = [{"path": "/etc/plain/text", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "text"}}}]
    url = started(namespace, DATA[0], plain(files=files))
    since = call(url, "plain_start_time")
    namespace.apply({**DATA[0], "data": {"text": "two"}})
    eventually(lambda: call(url, "plain_read", path="/etc/plain/text") == "two")
    assert call(url, "plain_start_time") == since
    assert restarts(namespace) == {"server": 0, "bridge": 0}


def test_rollouts_lose_no_call(namespace: Namespace) -> None:
    """Another value in the environment replaces the pod while clients call without pause; a Secret that goes missing does not."""
    url = started(namespace, *DATA, plain(envFrom=[{"secretRef": {"name": "s"}}]))
    failures = asyncio.run(_rolled_under_load(namespace, url))
    assert failures == []
    assert call(url, "plain_variable", name="TOKEN") == "second"
    (pod,) = namespace.pods(SERVER)
    namespace.delete("secret", "s")
    namespace.wait("mcps", "plain", "ResolvedRefs", "False", reason="RefNotFound")
    assert [p["metadata"]["uid"] for p in namespace.pods(SERVER)] == [pod["metadata"]["uid"]]
    namespace.apply({**DATA[1], "stringData": {"TOKEN": "second"}})
    namespace.wait("mcps", "plain", "Ready")
    assert [p["metadata"]["uid"] for p in namespace.pods(SERVER)] == [pod["metadata"]["uid"]]


async def _rolled_under_load(namespace: Namespace, url: str) -> list[str]:
    (before,) = namespace.pods(SERVER)

    def replaced() -> bool:
        everything = namespace.listed("pods", SERVER)
        return [pod["metadata"]["uid"] for pod in everything] != [] and not any(
            pod["metadata"]["uid"] == before["metadata"]["uid"] for pod in everything
        )

    async with Crowd(url, "plain_wait", {"seconds": 0.05}, "waited", size=4) as crowd:
        await crowd.more_calls(10)
        await asyncio.to_thread(namespace.apply, {**DATA[1], "stringData": {"TOKEN": "second"}})
        await asyncio.to_thread(eventually, replaced, timeout=120)
        await crowd.more_calls(10)
        return crowd.failures


def test_what_is_wrong_is_told(namespace: Namespace) -> None:
    """A registry that can't be reached, a missing pull secret, a program that is not in the image, a template that takes away."""
    namespace.apply(plain(image="registry.invalid/none:1", imagePullPolicy="Always"))
    found = namespace.wait("mcps", "plain", "Programmed", "False", reason="ImagePullFailed")
    assert "image registry.invalid/none:1 can't be pulled" in found["message"]

    body = plain()
    body["spec"]["imagePullSecrets"] = [{"name": "login"}]
    namespace.apply(body)
    found = namespace.wait("mcps", "plain", "ResolvedRefs", "False", reason="RefNotFound")
    assert "login of imagePullSecrets" in found["message"]

    namespace.apply(plain(command="/no/such/program", args=[]))
    namespace.wait("mcps", "plain", "Programmed", "False", reason="Crashing")
    (pod, *_) = sorted(namespace.pods(SERVER), key=lambda p: p["metadata"]["creationTimestamp"], reverse=True)

    def log() -> str:
        """Of the container as it is: it may just be starting again, and have said nothing yet."""
        return namespace.run("logs", pod["metadata"]["name"], "-c", "server", check=False)

    eventually(lambda: "command not found: /no/such/program" in log(), why=log)

    body = plain()
    body["spec"]["podTemplate"] = {"spec": {"containers": [{"name": "server", "command": ["/bin/true"]}]}}
    namespace.apply(body)
    found = namespace.wait("mcps", "plain", "Accepted", "False", reason="InvalidValue")
    assert "the container server gets its command from the resource" in found["message"]


def test_a_template_and_a_service_account(namespace: Namespace) -> None:
    """What podTemplate says is in the pod; a field that no pod has is refused in words, and nothing is changed."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    body = plain()
    body["spec"] |= {
        "serviceAccountName": "robot",
        "podTemplate": {
            "metadata": {"labels": {"tier": "gold"}},
            "spec": {
                "terminationGracePeriodSeconds": 60,
                "containers": [
                    {"name": "server", "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True}}
                ],
            },
        },
    }
    url = started(namespace, account, body)
    assert call(url, "plain_hello") == "plain/hello"
    (pod,) = namespace.pods(SERVER)
    assert pod["metadata"]["labels"]["tier"] == "gold"
    assert pod["spec"]["serviceAccountName"] == "robot"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 60
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True

    body["spec"]["podTemplate"]["spec"] = {"terminationGracePeriod": 60}
    namespace.apply(body)
    found = namespace.wait("mcps", "plain", "Programmed", "False", reason="ApplyRefused")
    assert "terminationGracePeriod" in found["message"]
    assert [p["metadata"]["uid"] for p in namespace.pods(SERVER)] == [pod["metadata"]["uid"]]
