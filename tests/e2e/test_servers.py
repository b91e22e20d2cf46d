"""From `kubectl apply` to a tool call: every way to host a server, edited, deleted, dying and returning."""

import asyncio
from collections.abc import Callable

from fastmcp import Client

from support.kubectl import Namespace, eventually
from support.product import BACKEND_IMAGE, PACKAGES_IMAGE, backend_objects, call, tools
from support.resources import container, proxy, remote, stdio

CORE = {"team": "core"}


def test_three_ways_to_host(namespace: Namespace, backend: Callable[..., str]) -> None:
    """A remote, a container and a stdio server behind one endpoint; all of MCP's lists; nothing left after deletion."""
    namespace.apply(
        *backend_objects("packages", image=PACKAGES_IMAGE),
        remote("far", backend("far"), labels=CORE),
        container("near", BACKEND_IMAGE, labels=CORE, env={"NAME": "near"}),
        stdio(
            "time",
            "uvx",
            "mcp-server-time@2026.10.19",
            labels=CORE,
            env={"UV_DEFAULT_INDEX": f"http://packages.{namespace.name}.svc:8080/simple"},
        ),
        proxy(selector=CORE, replicas=2),
    )
    for name in ("far", "near", "time"):
        namespace.wait("mcps", name, "Ready", timeout=120)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    for pod in namespace.pods("mcp-operator.dev/proxy=tools"):  # each replica lists what comes after it by itself
        own = f"http://{pod['status']['podIP']}:8080/mcp"
        eventually(
            lambda own=own: {"far_add", "near_add", "time_get_current_time"} <= tools(own),
            why=lambda own=own: tools(own),
        )
    assert call(url, "far_add", a=1, b=2) == "3"
    assert call(url, "near_hello") == "near/hello"
    assert "UTC" in call(url, "time_get_current_time", timezone="UTC")
    asyncio.run(_reads_resources_and_prompts(url))
    status = namespace.get("mcps", "near")["status"]
    assert status["hosting"] == "Container"
    assert status["serverInfo"] == {"name": "near", "version": "1.2.3"}
    assert "hello" in status["tools"]["names"]
    assert status["protocolVersion"]
    assert status["probe"]["latencyMilliseconds"] > 0
    assert namespace.get("mcpp", "tools")["status"]["replicaSummary"] == "2/2"

    namespace.delete("mcps,mcpp,mcpr", "--all")
    eventually(lambda: not _leftovers(namespace), timeout=180, why=lambda: _leftovers(namespace))


def _leftovers(namespace: Namespace) -> list[str]:
    kinds = "deployments,services,configmaps,secrets,serviceaccounts,pods"
    found = namespace.listed(kinds, "app.kubernetes.io/managed-by=mcp-operator")
    return [f"{body['kind']}/{body['metadata']['name']}" for body in found]


async def _reads_resources_and_prompts(url: str) -> None:
    async with Client(url) as client:
        resources = {str(resource.uri) for resource in await client.list_resources()}
        about = next(uri for uri in resources if "near" in uri)
        contents = await client.read_resource(about)
        assert contents[0].text == "about near"
        templates = [template.uri_template for template in await client.list_resource_templates()]
        item = next(template for template in templates if "near" in template).replace("{item}", "7")
        assert (await client.read_resource(item))[0].text == "near item 7"
        prompts = {prompt.name for prompt in await client.list_prompts()}
        assert {"near_greet", "far_greet"} <= prompts
        prompt = await client.get_prompt("near_greet", {"who": "Ada"})
        assert "Greet Ada from near." in str(prompt.messages[0].content)


def test_edit_and_delete(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Edits of labels, URL and existence of a server reach clients of the running proxy; its pod stays the same."""
    namespace.apply(remote("one", backend("one"), labels=CORE), proxy(selector=CORE))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "one_hello" in tools(url))
    before = _pod_identity(namespace)

    namespace.apply(remote("two", backend("two"), labels=CORE))
    eventually(lambda: "two_hello" in tools(url))
    namespace.apply(remote("two", f"http://one.{namespace.name}.svc:8080/mcp", labels=CORE))
    eventually(lambda: call(url, "two_hello") == "one/hello")
    namespace.run("label", "mcps", "two", "team-")
    eventually(lambda: "two_hello" not in tools(url))
    namespace.run("label", "mcps", "two", "team=core")
    eventually(lambda: "two_hello" in tools(url))
    namespace.delete("mcps", "two")
    eventually(lambda: "two_hello" not in tools(url))
    assert "one_hello" in tools(url)

    programmed = namespace.wait("mcpp", "tools", "Programmed")
    assert " s after it was written" in programmed["message"]
    assert namespace.get("mcpp", "tools")["status"]["swapSeconds"] < 60
    assert _pod_identity(namespace) == before


def _pod_identity(namespace: Namespace, selector: str = "mcp-operator.dev/proxy=tools") -> list[tuple[str, int]]:
    return [
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in namespace.pods(selector)
    ]


def test_dies_and_returns(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Conditions turn false with the true reason when a server dies and true again when it is back; other servers go on."""
    dying = backend("dying")
    namespace.apply(
        remote("dying", dying, labels=CORE),
        container("steady", BACKEND_IMAGE, labels=CORE, env={"NAME": "steady"}),
        proxy(selector=CORE),
    )
    namespace.wait("mcps", "dying", "Ready")
    namespace.wait("mcps", "steady", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: {"dying_hello", "steady_hello"} <= tools(url))

    namespace.run("scale", "deployment/dying", "--replicas=0")
    namespace.wait("mcps", "dying", "Healthy", "False")
    # The probe that meets its end may tell of a broken connection, and replicas may be the first to notice.
    gone = {"ConnectionRefused", "Unreachable", "Timeout"}
    eventually(
        lambda: namespace.condition("mcps", "dying", "Healthy")["reason"] in gone,
        why=lambda: namespace.condition("mcps", "dying", "Healthy"),
    )
    assert namespace.condition("mcps", "dying", "Ready")["status"] == "False"
    assert call(url, "steady_hello") == "steady/hello"
    eventually(lambda: "dying" in namespace.condition("mcpp", "tools", "Healthy")["message"])
    assert namespace.get("mcps", "dying")["status"]["tools"]["count"] > 0, "the last good catalogue stays"

    namespace.run("scale", "deployment/dying", "--replicas=1")
    namespace.wait("mcps", "dying", "Ready", timeout=60)
    eventually(lambda: call(url, "dying_hello") == "dying/hello")


def test_crash_of_a_hosted_server(namespace: Namespace) -> None:
    """A hosted server that crashes in a call fails that call clearly, comes back by itself and serves again."""
    namespace.apply(container("frail", BACKEND_IMAGE, labels=CORE, env={"NAME": "frail"}), proxy(selector=CORE))
    namespace.wait("mcps", "frail", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "frail_die" in tools(url))
    try:
        answer = call(url, "frail_die")
    except Exception as error:  # noqa: BLE001 - whichever way the client tells
        answer = str(error)
    assert "frail" in answer, "the error names the server"
    eventually(lambda: call(url, "frail_hello") == "frail/hello", timeout=90)


def test_two_proxies_share_a_server(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(
        remote("shared", backend("shared"), labels=CORE),
        proxy("first", selector=CORE),
        proxy("second", selector=CORE, path="/other/mcp"),
    )
    for name in ("first", "second"):
        namespace.wait("mcpp", name, "Ready")
    first = namespace.service_url("first-proxy", "/mcp")
    second = namespace.service_url("second-proxy", "/other/mcp")
    eventually(lambda: call(first, "shared_hello") == call(second, "shared_hello") == "shared/hello")
    namespace.delete("mcpp", "first")
    eventually(lambda: call(second, "shared_add", a=2, b=3) == "5")
