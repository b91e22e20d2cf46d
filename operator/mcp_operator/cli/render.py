"""`mcp-operator render`: print every object that the operator would apply for manifests."""

import argparse
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mcp_operator import __version__
from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.cli.arguments import namespace
from mcp_operator.cli.yamls import documents
from mcp_operator.compile import Compiled, compile_proxy, resolve
from mcp_operator.compile.servers import IDENTITY_KEY, cluster_url, identity_name, unsupported
from mcp_operator.conditions.route import NOTHING_MATCHES
from mcp_operator.desired import HostingSettings, proxy_objects, server_objects
from mcp_operator.desired.podtemplate import PodTemplateRefused
from mcp_operator.engine.keys import Key
from mcp_operator.local.catalogue import Catalogue, Snapshot, with_identities
from mcp_operator.local.files import ManifestFiles, NotThere
from mcp_operator.local.manifests import FileContent, Severity, named, read_manifests
from mcp_operator_proxy.configfiles import ConfigTooLarge

Object = dict[str, Any]
MASKED: Final = "<masked>"
STDIN: Final = "-"
EPILOG: Final = """\
PATH is a file, a folder whose own .yaml, .yml and .json files count, or - for standard input. Objects come in the order in which
the operator applies them, without what only the cluster knows: ownerReferences, and the versions of Secrets in file names.
Problems go to standard error. Exit codes: 0 printed, 1 a manifest is invalid (what is valid is still printed), 2 usage."""


def main(arguments: Sequence[str]) -> int:
    """Print the objects; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        snapshot = Catalogue().update(read_files(args.file, args.namespace), datetime(2000, 1, 1, tzinfo=UTC))
    except NotThere as error:
        print(f"mcp-operator render: {error}", file=sys.stderr)
        return 2
    snapshot = with_identities(snapshot, secrets.token_hex(32).encode())
    settings = HostingSettings(
        proxy_image=args.proxy_image,
        runner_image=args.runner_image,
        image_pull_policy=args.image_pull_policy,
        image_pull_secrets=tuple(args.image_pull_secret),
    )
    compiled = compile_all(snapshot)
    objects = list(rendered(snapshot, compiled, settings, show_secrets=args.show_secrets))
    sys.stdout.write(documents(objects))
    for line in (*map(str, snapshot.diagnostics), *problems(snapshot, compiled)):
        print(line, file=sys.stderr)
    if not snapshot.resources and not snapshot.refused:
        print("there is no McpServer, McpProxy or McpRoute in it", file=sys.stderr)
    return 1 if any(d.severity is Severity.ERROR for d in snapshot.diagnostics) else 0


def compile_all(snapshot: Snapshot) -> dict[Key, Compiled]:
    """Every proxy's configuration, with the addresses that servers have in a cluster, and a fresh key of session ids."""
    return {
        Key(proxy.kind, proxy.metadata.namespace, proxy.metadata.name): compile_proxy(
            proxy,
            routes=snapshot.routes,
            servers=snapshot.servers,
            objects=snapshot.objects,
            url_of=cluster_url,
            session_key=secrets.token_hex(32).encode(),
            operator_key=secrets.token_hex(32).encode(),
            namespace_labels=snapshot.labels.get(proxy.metadata.namespace, {}),
        )
        for proxy in snapshot.proxies
    }


def rendered(
    snapshot: Snapshot, compiled: Mapping[Key, Compiled], settings: HostingSettings, *, show_secrets: bool = False
) -> Iterator[Object]:
    """The children of all servers, then of all proxies, by namespace and name."""
    children = [child for server in snapshot.servers for child in _of_hosted(server, snapshot, settings)]
    for proxy in snapshot.proxies:
        key = Key(proxy.kind, proxy.metadata.namespace, proxy.metadata.name)
        if compiled[key].held is not None:  # applied, it would take from a proxy the stores that it has
            continue
        with suppress(PodTemplateRefused, ConfigTooLarge):  # which `problems` says
            children += proxy_objects(proxy, compiled[key], settings)
    for child in children:
        if child["kind"] == "Secret" and not show_secrets:
            child["data"] = dict.fromkeys(child["data"], MASKED)
        yield _without_owner(child)


def _of_hosted(server: McpServer, snapshot: Snapshot, settings: HostingSettings) -> list[Object]:
    """The children of a server; none where it is refused, which `problems` says."""
    if unsupported(server):
        return []
    identity = snapshot.objects.get(("Secret", server.metadata.namespace, identity_name(server)))
    try:
        return server_objects(server, settings, identity=identity.data.get(IDENTITY_KEY) if identity else None)
    except PodTemplateRefused:
        return []


def problems(snapshot: Snapshot, compiled: Mapping[Key, Compiled]) -> Iterator[str]:
    """What the operator would say in conditions, each with the place of the resource; every text once."""
    said = set()
    for key, message in _problems(snapshot, compiled):
        line = f"{snapshot.places[key]}: {named(key)}: {message}"
        if line not in said:
            said.add(line)
            yield line


def _problems(snapshot: Snapshot, compiled: Mapping[Key, Compiled]) -> Iterator[tuple[Key, str]]:
    for server in snapshot.servers:
        key = Key(meta.SERVER.kind, server.metadata.namespace, server.metadata.name)
        yield from ((key, message) for message in _of_server(server, snapshot))
    for proxy in snapshot.proxies:
        key = Key(meta.PROXY.kind, proxy.metadata.namespace, proxy.metadata.name)
        try:
            proxy_objects(proxy, compiled[key], HostingSettings(proxy_image="", runner_image=""))
        except PodTemplateRefused as refused:
            yield key, str(refused)
        except ConfigTooLarge as refused:
            yield key, f"it can't be applied: {refused}"
    for key, outcome in compiled.items():
        yield from ((key, problem.message) for problem in outcome.proxy_problems)
        if outcome.held is not None:
            yield (
                key,
                "it is not printed: without its stores the operator starts no proxy, and gives none its configuration",
            )
        for route, found in outcome.route_problems.items():
            yield from ((_route(route), problem.message) for problem in found)
            if not found and not outcome.route_servers[route] and not outcome.route_left_out[route]:
                yield _route(route), NOTHING_MATCHES
    for resource in snapshot.routes:
        namespace = resource.metadata.namespace
        for ref in resource.spec.parent_refs:
            if Key(meta.PROXY.kind, namespace, ref.name) not in compiled:
                yield _route(resource.id), f"McpProxy {namespace}/{ref.name} is not found"


def _of_server(server: McpServer, snapshot: Snapshot) -> Iterator[str]:
    if problem := unsupported(server):
        yield problem.message
    resolved = resolve(server, snapshot.objects)
    yield from (problem.message for problem in (*resolved.problems, *resolved.pulling))
    try:
        server_objects(server, HostingSettings(proxy_image="", runner_image=""))
    except PodTemplateRefused as refused:
        yield str(refused)


def _route(route_id: str) -> Key:
    namespace, _, name = route_id.partition("/")
    return Key(meta.ROUTE.kind, namespace, name)


def _without_owner(child: Object) -> Object:
    metadata = {key: value for key, value in child["metadata"].items() if key != "ownerReferences"}
    return {**child, "metadata": metadata}


def read_files(paths: Sequence[Path], namespace: str) -> list[FileContent]:
    """The files, folders and (`-`) standard input that a command was given. Raises NotThere."""
    files = ManifestFiles([path for path in paths if str(path) != STDIN], namespace).read()
    if Path(STDIN) in paths:
        files.append(read_manifests("standard input", sys.stdin.buffer.read(), namespace))
    return files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-operator render",
        description="Print every object that the operator would apply for manifests: for review and GitOps.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("-f", "--file", action="append", type=Path, required=True, metavar="PATH", help="may be repeated")
    option(
        "-n",
        "--namespace",
        type=namespace,
        default="default",
        help="namespace of manifests that name none (default: default)",
    )
    option("--proxy-image", default=f"mcp-operator-proxy:{__version__}", help="image of proxy pods")
    option("--runner-image", default=f"mcp-operator-runner:{__version__}", help="image that runs stdio servers")
    option("--image-pull-policy", choices=("Always", "IfNotPresent", "Never"), default="IfNotPresent", help="of both")
    option("--image-pull-secret", action="append", default=[], metavar="NAME", help="may be repeated")
    option("--show-secrets", action="store_true", help="print the values of Secrets instead of masking them")
    return parser
