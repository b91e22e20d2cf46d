"""`mcp-operator import`: the `mcpServers` of a desktop client become manifests."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_operator.cli.arguments import namespace
from mcp_operator.cli.yamls import documents
from mcp_operator.desktop.convert import PLACEHOLDER, Imported, convert
from mcp_operator.desktop.document import NotReadable, read
from mcp_operator.desktop.names import resource_name

STDIN: Final = "-"
MAX_BYTES: Final = 2**20
EPILOG: Final = f"""\
FILE is the configuration of a desktop client (claude_desktop_config.json, .cursor/mcp.json, .vscode/mcp.json, …), or - for
standard input. Each server becomes an McpServer, and an McpProxy beside them serves them all.

Variables, headers and arguments that look like credentials never stand in an McpServer: it refers to a Secret. By default
the output holds that Secret with the value {PLACEHOLDER} in the place of each; with --secrets-file the values are written
into that file (mode 0600: keep it out of Git) and the output holds no Secret; with --no-secrets nobody writes them.

What is left out or done otherwise is told on standard error, never with a value.
Exit codes: 0 all imported (disabled servers are told), 1 one could not be, 2 no usable file, or usage.

  mcp-operator import claude_desktop_config.json --secrets-file secrets.yaml > servers.yaml
  kubectl apply -f secrets.yaml -f servers.yaml      # or: mcp-operator local -f secrets.yaml -f servers.yaml"""


def main(arguments: Sequence[str]) -> int:
    """Print the manifests; the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if resource_name(args.proxy) != args.proxy:
        parser.error(f"--proxy {args.proxy!r} is no name of an McpProxy: lower-case letters, digits and '-'")
    if (
        args.output is not None
        and args.secrets_file is not None
        and args.output.resolve() == args.secrets_file.resolve()
    ):
        parser.error("--output and --secrets-file must be two files")
    try:
        entries = read(_content(args.file))
    except (NotReadable, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return _failed(f"{args.file}: {why}")
    imported = convert(entries, proxy=args.proxy, namespace=args.namespace, with_disabled=args.include_disabled)
    for line in (*imported.notes, *(f"not imported: {text}" for text in imported.refused)):
        print(f"{line}", file=sys.stderr)
    try:
        _write_out(imported, args)
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    if not entries:
        print("there is no server in it", file=sys.stderr)
    return 1 if imported.refused else 0


def _write_out(imported: Imported, args: argparse.Namespace) -> None:
    """Raises OSError."""
    beside = args.secrets_file is None and not args.no_secrets
    bodies = imported.secret_objects(args.namespace, placeholders=True) if beside else []
    bodies += imported.servers
    if imported.proxy is not None and not args.no_proxy:
        bodies.append(imported.proxy)
    if args.secrets_file is not None and imported.secrets:
        secrets = documents(imported.secret_objects(args.namespace, placeholders=False))
        _write(args.secrets_file, secrets, mode=0o600, force=args.force)
        print(f"{args.secrets_file}: holds the credentials: keep it out of Git", file=sys.stderr)
    elif imported.secrets:
        which = ", ".join(imported.secrets)
        print(_where_values_are_missing(which, omitted=args.no_secrets), file=sys.stderr)
    if args.output is None:
        sys.stdout.write(documents(bodies))
    else:
        _write(args.output, documents(bodies), mode=0o644, force=args.force)


def _where_values_are_missing(secrets: str, *, omitted: bool) -> str:
    if omitted:
        return f"the McpServers refer to Secrets that are not written: {secrets}"
    return f"Secrets hold {PLACEHOLDER} where a credential belongs: {secrets} (--secrets-file FILE writes the values there)"


def _write(path: Path, text: str, *, mode: int, force: bool) -> None:
    """Write a new file; with `force`, replace one. It has `mode` from its first moment. Raises OSError."""
    if force:
        path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def _content(path: Path) -> bytes:
    """Raises OSError, NotReadable."""
    if str(path) == STDIN:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise NotReadable("larger than 1 MiB: no file of a client")
    return content


def _failed(text: str) -> int:
    print(f"mcp-operator import: {text}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-operator import",
        description="Turn the mcpServers of a desktop client into manifests.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("file", type=Path, metavar="FILE", help="the client's configuration, JSON; comments are no harm")
    option("-n", "--namespace", type=namespace, help="written into the manifests (default: none is)")
    option("--proxy", default="tools", metavar="NAME", help="name of the McpProxy, and of the set (default: tools)")
    option("--no-proxy", action="store_true", help="write no McpProxy")
    option("--include-disabled", action="store_true", help="import servers that are switched off, too")
    secrets = parser.add_mutually_exclusive_group()
    secrets.add_argument("--secrets-file", type=Path, metavar="FILE", help="write Secrets with the credentials there")
    secrets.add_argument("--no-secrets", action="store_true", help="write no Secrets at all")
    option("-o", "--output", type=Path, metavar="FILE", help="write the manifests there instead of standard output")
    option("--force", action="store_true", help="replace files that are there")
    return parser
