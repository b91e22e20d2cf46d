"""How a hosted server runs as a process of this machine: its command and its environment. Pure."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mcp_operator.api.common import EnvVar
from mcp_operator.api.resources import McpServer
from mcp_operator.api.server import Container, Stdio
from mcp_operator.compile.lookup import DataId, DataObjects
from mcp_operator.compile.references import whole_sources
from mcp_operator.compile.servers import BRIDGE_PATH, IDENTITY_KEY, identity_name
from mcp_operator.conditions.reasons import Reason

IDENTITY_VARIABLE: Final = "MCP_BRIDGE_IDENTITY_KEY"
PYTHON: Final = (sys.executable, "-P")
"""`-P`: a file of the user's folder must not take the place of a module of ours."""

_PASSED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+"
    r"|UV_\w+|PIP_\w+|(npm|NPM)_(config|CONFIG)_\w+|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
    r"|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY"
)
_REFERENCE: Final = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


@dataclass(frozen=True, slots=True)
class Launch:
    """A process that serves MCP over HTTP at `path` of a loopback port.

    `port_option` goes before the port on its command line, and both between `program` and `arguments`; empty: it is not told so.
    `port` is fixed where the program decides it; None: any free one will do, and a second one can run beside it.
    `ready_path` answers 200 when it is ready; None: it is ready when the port accepts connections.
    """

    program: tuple[str, ...]
    arguments: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    path: str
    port: int | None = None
    ready_path: str | None = None
    port_option: str = ""

    def command(self, port: int) -> tuple[str, ...]:
        """The command line that listens on `port`."""
        told = (self.port_option, str(port)) if self.port_option else ()
        return (*self.program, *told, *self.arguments)


class CannotRun(Exception):
    """Why a server can't run on this machine, in words for its author."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of the user's that a server sees: what programs need to find and fetch things, and no credentials of other tools.

    A pod has not even these; whatever else a server needs stands in its `env`.
    """
    return {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}


def launch(server: McpServer, objects: DataObjects, base: Mapping[str, str]) -> Launch | None:
    """The process of `server`, in the environment `base` and its own; None for a remote one.

    Raises CannotRun.
    """
    spec, namespace = server.spec, server.metadata.namespace
    if (hosted := spec.container or spec.stdio) and hosted.files:
        raise CannotRun(
            Reason.UNSUPPORTED_VALUE,
            "files need a cluster: here the server would see this machine's own; give it their content another way, such as env",
        )
    if spec.stdio is not None:
        if spec.stdio.image is not None:
            raise CannotRun(
                Reason.UNSUPPORTED_VALUE,
                f"image {spec.stdio.image} can't run without a cluster: leave spec.stdio.image out to run the program of this machine",
            )
        own = environment(spec.stdio, namespace, objects)
        bridge = (
            "--host",
            "127.0.0.1",
            "--path",
            BRIDGE_PATH,
            "--isolation",
            spec.isolation,
            "--name",
            server.metadata.name,
            *(("--credential-env", spec.stdio.credential_env) if spec.stdio.credential_env else ()),
        )
        command = [expanded(part, own) for part in (spec.stdio.command, *spec.stdio.args)]
        return Launch(
            program=(*PYTHON, "-m", "mcp_operator_proxy.bridge"),
            arguments=(*bridge, "--", *command),
            environment={**base, **own, **_identity(server, objects)},
            path=BRIDGE_PATH,
            ready_path="/readyz",
            port_option="--port",
        )
    if spec.container is not None:
        container = spec.container
        if not container.command:
            raise CannotRun(
                Reason.UNSUPPORTED_VALUE,
                f"image {container.image} can't run without a cluster: set spec.container.command to a program of this machine"
                " that serves the same, or start the image yourself and declare it as spec.remote",
            )
        own = {"PORT": str(container.port), **environment(container, namespace, objects)}
        return Launch(
            program=(*PYTHON, "-m", "mcp_operator.local.hold", "--"),
            arguments=tuple(expanded(part, own) for part in (*container.command, *container.args)),
            environment={**base, **own},
            path=container.path,
            port=container.port,
        )
    return None


def _identity(server: McpServer, objects: DataObjects) -> dict[str, str]:
    """The key that the bridge believes; the processes do not see it."""
    held = objects.get(("Secret", server.metadata.namespace, identity_name(server)))
    if held is None and server.spec.isolation != "user":
        return {}
    if held is None:
        raise CannotRun(Reason.REF_NOT_FOUND, "isolation: user needs a key that vouches for users, and there is none")
    return {IDENTITY_VARIABLE: held.data[IDENTITY_KEY].decode()}


def environment(hosted: Container | Stdio, namespace: str, objects: DataObjects) -> dict[str, str]:
    """`envFrom`, and `env` over it. A key that is no name of a variable is left out, as the kubelet does.

    Raises CannotRun.
    """
    found: dict[str, str] = {}
    for source, (kind, ref) in zip(hosted.env_from, whole_sources(hosted), strict=True):
        if (held := objects.get((kind, namespace, ref.name))) is None:
            if ref.optional:
                continue
            raise CannotRun(Reason.REF_NOT_FOUND, f"envFrom: {kind} {namespace}/{ref.name} is not found")
        for key, value in held.data.items():
            name = f"{source.prefix or ''}{key}"
            found[name] = _text(value, f"envFrom: key {key} of {kind} {namespace}/{ref.name}")
    return variables(hosted.env, namespace, objects, found)


def variables(
    env: Iterable[EnvVar], namespace: str, objects: DataObjects, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Values of a server's own variables over those `before`; `$(NAME)` stands for one declared before (core/v1 EnvVar).

    Raises CannotRun where a value is missing or is no text.
    """
    found = dict(before or {})
    for variable in env:
        if variable.value_from is None:
            found[variable.name] = expanded(variable.value or "", found)
            continue
        source = variable.value_from
        reference = source.secret_key_ref or source.config_map_key_ref
        assert reference is not None
        about: DataId = ("Secret" if source.secret_key_ref else "ConfigMap", namespace, reference.name)
        value = objects[about].data.get(reference.key) if about in objects else None
        where = f"env {variable.name}: key {reference.key} of {about[0]} {namespace}/{reference.name}"
        if value is None:
            raise CannotRun(Reason.REF_NOT_FOUND, f"{where} is not found")
        found[variable.name] = _text(value, where)
    return found


def _text(value: bytes, where: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise CannotRun(Reason.INVALID_VALUE, f"{where} is not UTF-8 text") from None
    if "\0" in text:
        raise CannotRun(Reason.INVALID_VALUE, f"{where} holds a NUL character")
    return text


def expanded(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by the variable's value where it is known, `$$` by `$` (core/v1 Container, `args`)."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else values.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
