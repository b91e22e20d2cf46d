"""From what a user wrote to a `Document`, or to everything that is wrong with it at once. Pure."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mcp_operator_proxy.config import BackendUrl, EnvVar, Header, naming_problem
from mcp_operator_proxy.library.document import (
    BY_SERVER,
    FOR_COMMAND,
    FOR_URL,
    IGNORED,
    NAME,
    NAMESPACE,
    NAMESPACED,
    TYPES,
    Document,
    ProxySpec,
    ServerSpec,
    ToolOverride,
    Tools,
    known_fields,
    slug,
)
from mcp_operator_proxy.library.errors import ConfigError, Problem
from mcp_operator_proxy.library.expand import CannotExpand, expand

_EXPANDED: Final = frozenset({"command", "args", "env", "cwd", "url", "headers", "caFile"})
_MEANT: Final = {
    "arguments": "args",
    "cmd": "command",
    "dir": "cwd",
    "disabledTools": "tools.exclude",
    "endpoint": "url",
    "environment": "env",
    "excludeTools": "tools.exclude",
    "header": "headers",
    "httpUrl": "url",
    "includeTools": "tools.include",
    "serverUrl": "url",
    "timeout": "timeoutSeconds, in seconds (clients disagree about the unit of timeout)",
    "uri": "url",
    "workdir": "cwd",
    "workingDirectory": "cwd",
}
"""Names of other programs for fields that are here."""
_TOP: Final = ("servers", "proxy")
_PLAIN: Final = re.compile(r"[^\x00]{1,4096}")
_URL: Final[TypeAdapter[Any]] = TypeAdapter(BackendUrl)
_MODELS: Final[dict[str, type[BaseModel]]] = {"tools": Tools, "overrides": ToolOverride, "proxy": ProxySpec}


def parse(data: object, environ: Mapping[str, str], source: str = "config") -> Document:
    """Check and expand a config. Raises ConfigError with every problem, each with its path and none with a value."""
    problems: list[Problem] = []
    if not isinstance(data, Mapping):
        raise ConfigError([Problem("", "must be an object with mcpServers or servers")], source)
    key = _form(data, problems)
    proxy = _model(ProxySpec, data.get("proxy", {}), "proxy", problems)
    if proxy is not None and proxy.naming is not None and (problem := naming_problem(proxy.naming)):
        problems.append(Problem("proxy.naming", f"{problem}; for example {NAMESPACED}"))
    servers = dict(_servers(data.get(key, {}), key, environ, problems))
    if problems or proxy is None:
        raise ConfigError(sorted(problems, key=lambda p: p.path), source)
    naming = BY_SERVER if key == "mcpServers" else NAMESPACED
    return Document(proxy=proxy, servers=servers, default_naming=naming, key=key)


def parse_server(name: str, data: object, environ: Mapping[str, str], source: str = "config") -> ServerSpec:
    """Check and expand one server. Raises ConfigError."""
    problems: list[Problem] = []
    spec = _server(data, name, environ, problems)
    if problems or spec is None:
        raise ConfigError(problems, source)
    return spec


def _form(data: Mapping[str, Any], problems: list[Problem]) -> str:
    """Which key holds the servers. The file of a desktop client may hold anything else beside `mcpServers`."""
    if "mcpServers" in data:
        if "servers" in data:
            problems.append(Problem("servers", "write all servers into mcpServers, or all into servers"))
        return "mcpServers"
    if "servers" not in data:
        hint = ' It looks like one server: write {"mcpServers": {"NAME": {…}}}.' if _looks_like_server(data) else ""
        problems.append(Problem("", f"holds neither mcpServers (as desktop clients write it) nor servers.{hint}"))
        return "servers"
    problems += [Problem(str(key), f"unknown field{_suggestion(str(key), _TOP)}") for key in data if key not in _TOP]
    return "servers"


def _looks_like_server(data: Mapping[str, Any]) -> bool:
    return "command" in data or "url" in data


def _servers(
    data: object, key: str, environ: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[str, ServerSpec]]:
    if not isinstance(data, Mapping):
        problems.append(Problem(key, "must be an object with one entry for each server, by its name"))
        return
    slugs: defaultdict[str, list[str]] = defaultdict(list)
    for raw_name, server in data.items():
        name = str(raw_name)
        path = f"{key}.{name}"
        slugs[slug(name)].append(name)
        if not slug(name) or len(name) > 64:
            problems.append(Problem(path, "a server's name has a letter or digit and at most 64 characters"))
        spec = _server(server, path, environ, problems)
        if spec is not None:
            yield name, spec
    problems += [
        Problem(f"{key}.{same[1]}", f"its name is too much like {same[0]}; rename one of them")
        for same in slugs.values()
        if len(same) > 1
    ]


def _server(data: object, path: str, environ: Mapping[str, str], problems: list[Problem]) -> ServerSpec | None:
    before = len(problems)
    if not isinstance(data, Mapping):
        problems.append(Problem(path, 'must be an object, for example {"command": "uvx", "args": ["NAME"]}'))
        return None
    kept = {key: value for key, value in data.items() if key not in IGNORED}
    expanded = {k: _expand(v, f"{path}.{k}", environ, problems) if k in _EXPANDED else v for k, v in kept.items()}
    unknown = {problem.path for problem in problems[before:]}  # nothing more is to be said of their values
    spec = _model(ServerSpec, expanded, path, problems)
    if spec is not None:
        found = [Problem(f"{path}.{at}" if at else path, message) for at, message in _contradictions(spec)]
    else:
        found = list(_kinds(expanded, path))
    problems += [problem for problem in found if problem.path not in unknown]
    return spec if len(problems) == before else None


def _expand(value: Any, path: str, environ: Mapping[str, str], problems: list[Problem]) -> Any:
    if isinstance(value, str):
        try:
            return expand(value, environ)
        except CannotExpand as error:
            problems.append(Problem(path, str(error)))
            return ""
    if isinstance(value, Mapping):
        return {k: _expand(v, f"{path}.{k}", environ, problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{path}[{i}]", environ, problems) for i, v in enumerate(value)]
    return value


# What a single field can't say


def _kinds(data: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """The choice between command and url, told also where other fields are wrong."""
    given = [key for key in ("command", "url") if data.get(key) is not None]
    if len(given) != 1:
        what = "has both; keep one" if given else "has neither"
        yield Problem(path, f"needs exactly one of command (a program to run) and url (a server to reach): it {what}")


def _contradictions(spec: ServerSpec) -> Iterator[tuple[str, str]]:
    for problem in _kinds({"command": spec.command, "url": spec.url}, ""):
        yield "", problem.message
    if spec.command is not None and spec.url is None:
        yield from _misplaced(spec, FOR_URL, "url")
        yield from _command_problems(spec)
    if spec.url is not None and spec.command is None:
        yield from _misplaced(spec, FOR_COMMAND, "command")
        yield from _url_problems(spec)
    yield from _type_problems(spec)
    if "enabled" in spec.model_fields_set and "disabled" in spec.model_fields_set and spec.enabled == spec.disabled:
        yield "disabled", "contradicts enabled; write one of them"
    yield from _override_problems(spec.tools.overrides)


def _override_problems(overrides: Mapping[str, ToolOverride]) -> Iterator[tuple[str, str]]:
    renamed: dict[str, str] = {}
    for name, override in overrides.items():
        if not 0 < len(name) <= 256:
            yield f"tools.overrides.{name}", "the name of a tool, or a glob, has 1 to 256 characters"
        if re.search(r"[*?\[]", name) and (override.rename is not None or override.description is not None):
            yield f"tools.overrides.{name}", "rename and description are for one tool: write its whole name"
        if override.rename is not None and (other := renamed.setdefault(override.rename, name)) != name:
            yield f"tools.overrides.{name}.rename", f"is the new name of {other} too; no two tools can have one name"


def _misplaced(spec: ServerSpec, fields: frozenset[str], kind: str) -> Iterator[tuple[str, str]]:
    for field in sorted(fields & spec.model_fields_set):
        yield ServerSpec.model_fields[field].alias or field, f"is for a server with {kind}; remove it"


def _command_problems(spec: ServerSpec) -> Iterator[tuple[str, str]]:
    command = spec.command or ""
    if not command.strip():
        yield "command", "must name a program"
    elif " " in command and "/" not in command and "\\" not in command:
        yield "command", 'must be one program; write its arguments into args, for example ["-y", "NAME"]'
    elif not _PLAIN.fullmatch(command):
        yield "command", "must be text of at most 4096 characters without NUL"
    if spec.cwd is not None and not _PLAIN.fullmatch(spec.cwd):
        yield "cwd", "must name a folder; leave it out for that of the proxy"
    for index, argument in enumerate(spec.args):
        if "\0" in argument:
            yield f"args[{index}]", "must be text without NUL"
    for name, value in spec.env.items():
        if not _fits(EnvVar, {"name": name, "value": value}):
            yield f"env.{name}", "the name of a variable has letters, digits and '_', its value no NUL"


def _url_problems(spec: ServerSpec) -> Iterator[tuple[str, str]]:
    parts = _split(spec.url or "")
    if parts is None:
        yield "url", "must be an http or https URL, for example https://example.com/mcp"
    elif parts.username or parts.password:
        yield "url", "must hold no user and password; write them into headers, as Authorization"
    seen: dict[str, str] = {}
    for name in spec.headers:
        if (other := seen.setdefault(name.lower(), name)) != name:
            yield f"headers.{name}", f"is the same header as {other}; keep one"
    for name, value in spec.headers.items():
        if not _fits(Header, {"name": name, "value": value}) or not value.isprintable():
            yield f"headers.{name}", "must be an HTTP header: a token as its name, one line of text as its value"


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https URL with a host; None for anything else."""
    try:
        _URL.validate_python(url)
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.hostname else None  # pydantic takes the host of http:///mcp from its path


def _fits(model: type[BaseModel], data: dict[str, Any]) -> bool:
    try:
        model.model_validate(data)
    except ValidationError:
        return False
    return True


def _type_problems(spec: ServerSpec) -> Iterator[tuple[str, str]]:
    for field in ("type", "transport"):
        word = getattr(spec, field)
        if word is None:
            continue
        if word not in TYPES:
            yield field, f"must be one of {', '.join(TYPES)}"
        elif (TYPES[word] == "stdio") != (spec.command is not None):
            kind = "command" if spec.command is not None else "url"
            right = "stdio" if kind == "command" else "http, sse or auto"
            yield field, f"does not fit to a server with {kind}: write {right}, or leave it out"
    if spec.type and spec.transport and TYPES.get(spec.type) != TYPES.get(spec.transport):
        yield "transport", "contradicts type; write one of them"


# What single fields say


def _model(model: type[BaseModel], data: object, path: str, problems: list[Problem]) -> Any:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems += [Problem(_path(path, detail["loc"]), _message(detail, model)) for detail in details]
        return None


def _path(path: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


_MUST: Final = {
    "string_type": "must be a string; write it in quotes",
    "list_type": 'must be a list, for example ["a", "b"]',
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "missing": "is needed",
}


_PATTERNS: Final = {
    NAME: "must have 1 to 128 letters, digits, '_', '.', '-' or '/'",
    NAMESPACE: "must have 1 to 64 letters, digits, '_', '.' or '-'",
}


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        *parents, field = detail["loc"]
        holder = _MODELS.get(str(parents[0]), model) if len(parents) == 1 else model
        if "overrides" in parents:
            holder = ToolOverride
        return f"unknown field{_suggestion(str(field), tuple(known_fields(holder)))}"
    if kind == "literal_error":
        return f"must be {detail.get('ctx', {}).get('expected', 'another word')}"
    if kind in _MUST:
        return _MUST[kind]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(pattern := str(detail.get("ctx", {}).get("pattern")), f"does not match {pattern}")
    return "must be " + str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _suggestion(field: str, known: tuple[str, ...]) -> str:
    if field in _MEANT and re.split(r"[,.]", _MEANT[field])[0] in known:
        return f"; write {_MEANT[field]}"
    by_case = {name.lower(): name for name in known}
    plain = field.replace("_", "").replace("-", "").lower()
    close = difflib.get_close_matches(plain, by_case, n=1, cutoff=0.75)
    if close:
        return f"; did you mean {by_case[close[0]]}?"
    return f"; known are {', '.join(known)}"
