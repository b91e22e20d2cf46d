"""The containers of a hosted server's pod: the user's image, the runner image, or the user's image beside a bridge.

Every pod pauses between leaving its Service and SIGTERM, and the bridge then answers what is in flight: a rollout loses no call.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from mcp_operator.api.resources import McpServer
from mcp_operator.api.server import Container, Stdio
from mcp_operator.compile.servers import BRIDGE_PATH, BRIDGE_PORT, IDENTITY_KEY, identity_name
from mcp_operator.desired.common import NON_ROOT_ID, Object, confined, env, env_from, resources, restricted
from mcp_operator.desired.settings import HostingSettings

WRITABLE: Final = "/var/cache/mcp"
"""Where a stdio server's tools (uv, npm) keep what they fetch; the rest of its root is read-only."""
IDLE: Final = "10m"
"""Without a call for so long a user's process ends."""
PIPES: Final = "/mcp-bridge"
"""Where a user's image finds the busybox that starts its command, and the two pipes to the bridge."""
BUSYBOX: Final = f"{PIPES}/busybox"
PAUSE_SECONDS: Final = 5
"""Between a pod's leaving the Service and its SIGTERM: connections that were already on their way still arrive."""
LINGER_SECONDS: Final = 5
"""After SIGTERM the bridge closes each connection with its next answer for so long, so that clients move to another pod.

Proxies use no connection that was idle for 4 s, so what is left then is used by nobody."""
DRAIN_SECONDS: Final = 25
"""For calls in flight, after that."""
GRACE_SECONDS: Final = PAUSE_SECONDS + LINGER_SECONDS + DRAIN_SECONDS + 10

_PREPARE: Final = (
    f"cp /bin/busybox {PIPES}/.new && chmod 755 {PIPES}/.new && mv -f {PIPES}/.new {BUSYBOX}"
    f" && rm -f {PIPES}/in {PIPES}/out && mkfifo -m 666 {PIPES}/in {PIPES}/out"
)
RUN: Final = (
    f"{BUSYBOX} rm -f {PIPES}/in {PIPES}/out && {BUSYBOX} mkfifo -m 666 {PIPES}/in {PIPES}/out || exit 126\n"
    'command -v "$1" >/dev/null || { echo "command not found: $1" >&2; exit 127; }\n'
    f'exec "$@" <{PIPES}/in >{PIPES}/out'
)
"""New pipes at each start: what a bridge wrote for the process before never reaches this one."""
_AFTER_THE_BRIDGE: Final = f"while [ -e {PIPES}/serving ]; do {BUSYBOX} sleep 0.2; done"


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs in the pod. The container `server` is the one that the resource speaks of."""

    containers: list[Object]
    volumes: list[Object] = field(default_factory=list)
    init_containers: list[Object] = field(default_factory=list)
    fs_group: int | None = None
    grace_seconds: int = GRACE_SECONDS

    def mounting(self, volumes: list[Object], mounts: list[Object]) -> "Workload":
        """The same with volumes that the container `server` mounts."""
        if not volumes:
            return self
        containers = [
            {**one, "volumeMounts": [*one.get("volumeMounts", []), *mounts]} if one["name"] == "server" else one
            for one in self.containers
        ]
        return replace(self, containers=containers, volumes=[*self.volumes, *volumes])


def workload(server: McpServer, settings: HostingSettings) -> Workload:
    """The containers of a hosted server, and the volumes that these need."""
    if server.spec.container:
        return Workload([_container(server.spec.container)])
    assert server.spec.stdio
    if server.spec.stdio.image:
        return _beside_a_bridge(server, server.spec.stdio, settings)
    return Workload(
        [_runner(server, server.spec.stdio, settings)],
        volumes=[{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        fs_group=NON_ROOT_ID,
    )


def _container(spec: Container) -> Object:
    own_port = any(variable.name == "PORT" for variable in spec.env)
    body: Object = {
        "name": "server",
        "image": spec.image,
        "env": [*([] if own_port else [{"name": "PORT", "value": str(spec.port)}]), *env(spec.env)],
        "ports": [{"name": "mcp", "containerPort": spec.port, "protocol": "TCP"}],
        "resources": resources(spec.resources),
        "securityContext": confined(),
        "readinessProbe": {"tcpSocket": {"port": "mcp"}, "periodSeconds": 2},
        "lifecycle": _pause(),
    }
    optional: Object = {
        "imagePullPolicy": spec.image_pull_policy,
        "command": list(spec.command),
        "args": list(spec.args),
        "envFrom": env_from(spec.env_from),
    }
    return body | _set(optional)


def _runner(server: McpServer, spec: Stdio, settings: HostingSettings) -> Object:
    body: Object = {
        "name": "server",
        "image": settings.runner_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": [*_bridge_options(server), "--", spec.command, *spec.args],
        "env": [*env(spec.env), *_identity(server)],
        "resources": resources(spec.resources),
        "volumeMounts": [{"name": "cache", "mountPath": WRITABLE}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        **_bridge(),
    }
    return body | _set({"envFrom": env_from(spec.env_from)})


def _beside_a_bridge(server: McpServer, spec: Stdio, settings: HostingSettings) -> Workload:
    """The user's image runs the command over two pipes; an init container brings what that takes, of the proxy image.

    The process ends after the bridge, which still answers calls in flight.
    """
    mount = {"name": "bridge", "mountPath": PIPES}
    own: Object = {"image": settings.proxy_image, "imagePullPolicy": settings.image_pull_policy}
    small: Object = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    prepare: Object = {
        "name": "prepare",
        **own,
        "command": ["/bin/busybox", "sh", "-c", _PREPARE],
        "resources": small,
        "securityContext": restricted(),
        "volumeMounts": [mount],
    }
    user: Object = {
        "name": "server",
        "image": spec.image,
        "command": [BUSYBOX, "sh", "-c", RUN, "--", spec.command, *spec.args],
        "env": env(spec.env),
        "resources": resources(spec.resources),
        "securityContext": confined(),
        "volumeMounts": [mount],
        "lifecycle": {"preStop": {"exec": {"command": [BUSYBOX, "sh", "-c", _AFTER_THE_BRIDGE]}}},
    }
    bridge: Object = {
        "name": "bridge",
        **own,
        "args": [*_bridge_options(server), "--pipes", PIPES],
        "resources": small,
        "volumeMounts": [mount],
        **_bridge(),
    }
    user |= _set({"imagePullPolicy": spec.image_pull_policy, "envFrom": env_from(spec.env_from)})
    return Workload([user, bridge], volumes=[{"name": "bridge", "emptyDir": {}}], init_containers=[prepare])


def _bridge_options(server: McpServer) -> list[str]:
    options = ["--port", str(BRIDGE_PORT), "--path", BRIDGE_PATH, "--isolation", server.spec.isolation]
    options += ["--name", server.metadata.name]
    if server.spec.isolation == "user":
        options += ["--process-idle", IDLE]
    if server.spec.stdio is not None and server.spec.stdio.credential_env is not None:
        options += ["--credential-env", server.spec.stdio.credential_env]
    return [*options, "--linger", f"{LINGER_SECONDS}s", "--drain-timeout", f"{DRAIN_SECONDS}s"]


def _identity(server: McpServer) -> list[Object]:
    """The key that the bridge believes. It keeps its own variables from the processes that it runs."""
    source: Object = {"name": identity_name(server), "key": IDENTITY_KEY}
    if server.spec.isolation != "user":
        source["optional"] = True  # without it only the logs cannot be asked for
    return [{"name": "MCP_BRIDGE_IDENTITY_KEY", "valueFrom": {"secretKeyRef": source}}]


def _bridge() -> Object:
    """What every container with a bridge has."""
    return {
        "command": ["mcp-operator-proxy", "bridge"],
        "ports": [{"name": "mcp", "containerPort": BRIDGE_PORT, "protocol": "TCP"}],
        "securityContext": restricted(),
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "mcp"}, "periodSeconds": 2, "timeoutSeconds": 5},
        "lifecycle": _pause(),
    }


def _pause() -> Object:
    return {"preStop": {"sleep": {"seconds": PAUSE_SECONDS}}}


def _set(fields: Object) -> Object:
    """Those that say something."""
    return {key: value for key, value in fields.items() if value}
