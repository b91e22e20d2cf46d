"""Which kinds there are: asked once, believed for a while, asked again sooner where there was none."""

from typing import Any

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.discovery import RETRY_SECONDS, SURE_SECONDS, Discovery

from .conftest import Answer, ApiServer, Asked, refusal

GATEWAY = "gateway.networking.k8s.io/v1"
LISTED: dict[str, Any] = {
    "kind": "APIResourceList",
    "resources": [
        {"name": "httproutes", "kind": "HTTPRoute"},
        {"name": "httproutes/status", "kind": "HTTPRoute"},
        {"name": "gateways/scale", "kind": "Scale"},
    ],
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_what_is_served_is_believed_for_long(api: ApiServer, kube: KubeClient) -> None:
    api.respond = lambda _: Answer(body=LISTED)
    clock = Clock()
    discovery = Discovery(kube, clock)
    assert [await discovery.serves(GATEWAY, "HTTPRoute") for _ in range(3)] == [True] * 3
    assert not await discovery.serves(GATEWAY, "Scale"), "a subresource is no kind of its own"
    assert [asked.path for asked in api.asked] == [f"/apis/{GATEWAY}"]
    clock.now += SURE_SECONDS - 1
    assert await discovery.serves(GATEWAY, "HTTPRoute")
    assert len(api.asked) == 1
    clock.now += 2
    assert await discovery.serves(GATEWAY, "HTTPRoute")
    assert len(api.asked) == 2


async def test_what_is_missing_is_looked_for_again_soon(api: ApiServer, kube: KubeClient) -> None:
    answer = refusal(404, "NotFound", "the server could not find the requested resource")

    def respond(_: Asked) -> Answer:
        return answer

    api.respond = respond
    clock = Clock()
    discovery = Discovery(kube, clock)
    assert [await discovery.serves(GATEWAY, "HTTPRoute") for _ in range(3)] == [False] * 3
    assert len(api.asked) == 1
    answer = Answer(body=LISTED)
    clock.now += RETRY_SECONDS + 1
    assert await discovery.serves(GATEWAY, "HTTPRoute")
    discovery.forget(GATEWAY)
    answer = refusal(404, "NotFound", "gone again")
    assert not await discovery.serves(GATEWAY, "HTTPRoute")
