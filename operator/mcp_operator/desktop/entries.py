"""One entry of a client's file, brought into one form: what clients and systems wrap around a server is taken off. Pure."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

Transport = Literal["auto", "streamable-http", "sse"]
Tell = Callable[[str], None]

_TYPES: Final[dict[str, str]] = {
    "stdio": "stdio",
    "command": "stdio",
    "http": "streamable-http",
    "streamable-http": "streamable-http",
    "streamable_http": "streamable-http",
    "streamablehttp": "streamable-http",
    "remote": "auto",
    "sse": "sse",
    "auto": "auto",
}
_URLS: Final = ("url", "serverUrl", "httpUrl", "serverURL", "uri", "endpoint")
_TAKEN: Final = frozenset({"command", "args", "env", "headers", "type", "transport", "disabled", "enabled", *_URLS})
_TOLD: Final = {
    "alwaysAllow": "is for the client: who approves a call",
    "autoApprove": "is for the client: who approves a call",
    "auth": "is left out: nobody logs in for a server here; give it a header with a credential",
    "cwd": "is left out: a pod has no such folder",
    "description": "is left out",
    "disabledTools": "is left out: hide tools by an McpRoute, under servers[].tools.exclude",
    "dev": "is for the client",
    "enabledTools": "is left out: choose tools by an McpRoute, under servers[].tools.include",
    "envFile": "is left out, and so are the variables in that file: write them into env",
    "excludeTools": "is left out: hide tools by an McpRoute, under servers[].tools.exclude",
    "gallery": "is for the client",
    "icon": "is for the client",
    "includeTools": "is left out: choose tools by an McpRoute, under servers[].tools.include",
    "name": "is left out: the entry has a name",
    "oauth": "is left out: nobody logs in for a server here; give it a header with a credential",
    "timeout": "is left out, as clients disagree about its unit: set spec.timeouts.call",
    "tools": "is left out: choose tools by an McpRoute, under servers[].tools.include",
    "trust": "is for the client: who approves a call",
    "version": "is for the client",
}
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})
_REMOTE: Final = re.compile(r"mcp-remote(@[\w.^~-]+)?")
_REMOTE_TRANSPORTS: Final = {
    "http-only": "streamable-http",
    "sse-only": "sse",
    "http-first": "auto",
    "sse-first": "auto",
}
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_]\w*)\}")


class NotImportable(ValueError):
    """The entry can't become an McpServer. The message says why and what to do, without its values."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Exactly one of `command` and `url` is set."""

    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    transport: Transport = "auto"


def is_disabled(data: object) -> bool:
    return isinstance(data, Mapping) and (data.get("disabled") is True or data.get("enabled") is False)


def entry(data: object, tell: Tell) -> Entry:
    """Read an entry; `tell` hears what is left out or done otherwise. Raises NotImportable."""
    if not isinstance(data, Mapping):
        raise NotImportable('must be an object, such as {"command": "uvx", "args": ["mcp-server-time"]}')
    nested = data.get("command")
    if isinstance(nested, Mapping):  # as Zed writes it
        data = {**data, "command": nested.get("path"), "args": nested.get("args", []), "env": nested.get("env", {})}
    for key in data:
        if key not in _TAKEN:
            tell(f"{key} {_TOLD[key]}" if key in _TOLD else f"unknown field {key}: left out")
    command, url = data.get("command"), next((data[key] for key in _URLS if data.get(key)), None)
    if bool(command) == bool(url):
        what = "it has both" if command else "it has neither"
        raise NotImportable(f"needs exactly one of command (a program) and url (a server to reach): {what}")
    if url:
        return _remote(data, url, tell)
    return _stdio(data, command, tell)


def _remote(data: Mapping[str, Any], url: object, tell: Tell) -> Entry:
    if not isinstance(url, str):
        raise NotImportable("url must be a string")
    for key in ("args", "env"):
        if data.get(key):
            tell(f"{key} is left out: it is for a command, and this server is reached by its url")
    transport: Any = _type(data, "streamable-http" if data.get("httpUrl") else "auto")
    return Entry(url=url.strip(), headers=_texts(data, "headers", tell), transport=transport)


def _stdio(data: Mapping[str, Any], command: object, tell: Tell) -> Entry:
    args = data.get("args", [])
    if not isinstance(command, str) or not isinstance(args, list):
        raise NotImportable("command must be a string, and args a list of strings")
    if _type(data, "stdio") != "stdio":
        raise NotImportable("has a command, but its type is that of a server with a url")
    if data.get("headers"):
        tell("headers are left out: a command has none")
    words = [command.strip(), *(_text(argument, "args") for argument in args)]
    words = _split(_without_shell(words, tell), tell)
    env = _texts(data, "env", tell)
    program = _program(words[0])
    if program in _CONTAINERS:
        raise NotImportable(
            f"runs {program}, which a pod can't: write an McpServer with container (an image that serves MCP over HTTP),"
            " or with stdio.image and the command that is in it"
        )
    if (at := next((i for i, word in enumerate(words) if i and _REMOTE.fullmatch(word)), 0)) or program == "mcp-remote":
        return _mcp_remote(words[at + 1 :], env, tell)
    if program != words[0] and program in {"npx", "uvx", "node", "npm", "uv", "python", "python3"}:
        tell(f"command: {program}, as found in the pod, in the place of that of this machine")
        words[0] = program
    return Entry(command=words[0], args=tuple(words[1:]), env=env)


def _without_shell(words: list[str], tell: Tell) -> list[str]:
    """`cmd /c npx …`, as Windows wants it, is `npx …`."""
    if _program(words[0]) == "cmd" and len(words) > 2 and words[1].lower() == "/c":
        tell("cmd /c is taken off: it is for Windows")
        words = words[2:]
    return words


def _split(words: list[str], tell: Tell) -> list[str]:
    """A whole command line in `command` becomes a program and arguments."""
    if not words[0]:
        raise NotImportable("command is empty")
    if not re.search(r"\s", words[0]) or _is_local(words[0]):
        return words
    try:
        first = shlex.split(words[0])
    except ValueError:
        raise NotImportable("command must be one program; its arguments go into args") from None
    tell("command: split into a program and its arguments")
    return [*first, *words[1:]]


def _program(command: str) -> str:
    """`C:\\Program Files\\nodejs\\npx.cmd` and `/usr/local/bin/npx` are `npx`."""
    path = PureWindowsPath(command) if "\\" in command else PurePosixPath(command)
    name = path.name or command
    return re.sub(r"\.(cmd|exe|bat)$", "", name, flags=re.IGNORECASE)


def _is_local(text: str) -> bool:
    return text.startswith(("/", "~", "./", "../", "\\\\")) or bool(re.match(r"[A-Za-z]:[\\/]", text))


def names_local_file(text: str) -> bool:
    """Whether a word of a command line names a file of the machine where the client runs."""
    value = text.partition("=")[2] if text.startswith("-") else text
    return _is_local(value) and len(value) > 1


def _mcp_remote(words: list[str], env: Mapping[str, str], tell: Tell) -> Entry:
    """What `npx mcp-remote URL` bridges, the proxy reaches by itself."""
    urls = [word for word in words if word.startswith(("https://", "http://"))]
    if not urls:
        raise NotImportable("runs mcp-remote without a URL")
    tell("mcp-remote is not needed: the proxy reaches that URL itself; a login in the browser is not done for it")
    headers: dict[str, str] = {}
    transport: Any = "auto"
    rest = iter(words)
    for word in rest:
        if word == "--header":
            name, _, value = next(rest, "").partition(":")
            headers[name.strip()] = _REFERENCE.sub(lambda found: env.get(found[1], found[0]), value.strip())
        elif word == "--transport":
            transport = _REMOTE_TRANSPORTS.get(next(rest, ""), "auto")
        elif word != urls[0]:
            tell("an argument of mcp-remote is left out")
    return Entry(url=urls[0], headers=headers, transport=transport)


def _type(data: Mapping[str, Any], default: str) -> str:
    given = data.get("type") or data.get("transport")
    if given is None:
        return default
    found = _TYPES.get(str(given).lower())
    if found is None:
        raise NotImportable("type must be one of stdio, http, streamable-http and sse")
    if default != "stdio" and found == "stdio":
        raise NotImportable("has a url, but its type is stdio")
    return found


def _texts(data: Mapping[str, Any], key: str, tell: Tell) -> dict[str, str]:
    """A mapping of texts; null counts as not there."""
    values = data.get(key) or {}
    if not isinstance(values, Mapping):
        raise NotImportable(f"{key} must be an object of strings")
    for name, value in values.items():
        if value is None:
            tell(f"{key}.{name} is null: left out")
    return {name: _text(value, f"{key}.{name}") for name, value in values.items() if value is not None}


def _text(value: object, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise NotImportable(f"{where} must be a string")
