"""Entries of a client's file become McpServers, Secrets, and an McpProxy that serves them. Pure."""

import base64
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from mcp_operator.api.meta import API_VERSION
from mcp_operator.api.resources import InvalidResource, parse
from mcp_operator.api.server import OWN_HEADERS
from mcp_operator.desktop.credentials import is_credential, is_secretive, looks_secret
from mcp_operator.desktop.entries import Entry, NotImportable, entry, is_disabled, names_local_file
from mcp_operator.desktop.names import resource_name, variable_name

Object = dict[str, Any]
PLACEHOLDER: Final = "REPLACE-ME"
LABEL: Final = "app.kubernetes.io/part-of"
"""By which the proxy finds the servers that were imported together."""
RUNNER_PROGRAMS: Final = frozenset({"npx", "node", "npm", "uvx", "uv", "python", "python3"})
_REFERENCE: Final = re.compile(r"\$\{[^{}]*\}")
_NAMED_REFERENCE: Final = re.compile(r"\$\{(?:env:|input:)?([A-Za-z_][\w-]*)(?::-[^{}]*)?\}")
_OPTION: Final = re.compile(r"(--?[\w.-]+|[A-Za-z_]\w*)=(.+)", re.DOTALL)
_HEADER: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*:\s*(?!//)(.+)", re.DOTALL)


@dataclass(slots=True)
class Imported:
    """Manifests, and what there is to tell. `secrets` maps names of Secrets to keys and values, which are credentials."""

    servers: list[Object] = field(default_factory=list)
    proxy: Object | None = None
    secrets: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def secret_objects(self, namespace: str | None, *, placeholders: bool) -> list[Object]:
        """The Secrets; with `placeholders`, without a value of the file."""
        return [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": _metadata(name, namespace),
                "type": "Opaque",
                "stringData": dict.fromkeys(values, PLACEHOLDER) if placeholders else dict(values),
            }
            for name, values in self.secrets.items()
        ]


def convert(
    entries: Mapping[str, Any], *, proxy: str, namespace: str | None = None, with_disabled: bool = False
) -> Imported:
    """All entries of a file. One that can't be an McpServer is `refused`, with the reason, and the others are not."""
    imported = Imported()
    taken: set[str] = set()
    for name, data in entries.items():
        if is_disabled(data) and not with_disabled:
            imported.notes.append(f"{name}: disabled: left out")
            continue
        conversion = _Conversion(name, resource_name(name, taken))
        try:
            body = conversion.run(data, _metadata(conversion.resource, namespace, {LABEL: proxy}))
        except NotImportable as error:
            imported.refused.append(f"{name}: {error}")
            continue
        taken.add(conversion.resource)
        imported.servers.append(body)
        imported.notes += conversion.notes
        if conversion.secret:
            imported.secrets[conversion.secret_name] = conversion.secret
    if imported.servers:
        imported.proxy = _proxy(proxy, namespace)
    return imported


class _Conversion:
    """One entry on its way."""

    def __init__(self, name: str, resource: str) -> None:
        self.name = name
        self.resource = resource
        self.secret_name = f"{resource}-credentials"
        self.secret: dict[str, str] = {}
        self.notes: list[str] = []
        if resource != name:
            self.tell(f"the McpServer is called {resource}, and so begin the names of its tools")

    def tell(self, text: str) -> None:
        self.notes.append(f"{self.name}: {text}")

    def run(self, data: object, metadata: Object) -> Object:
        """The McpServer. Raises NotImportable."""
        found = entry(data, self.tell)
        spec = {"stdio": self._stdio(found)} if found.command is not None else {"remote": self._remote(found)}
        body = {"apiVersion": API_VERSION, "kind": "McpServer", "metadata": metadata, "spec": spec}
        try:
            parse(body, strict=True)
        except InvalidResource as error:
            raise NotImportable(str(error)) from None
        return body

    def _stdio(self, found: Entry) -> Object:
        assert found.command is not None
        if found.command not in RUNNER_PROGRAMS:
            self.tell("its command must be in the runner image, which has uv, uvx, node, npx and python")
        if any(names_local_file(word) for word in (found.command, *found.args, *found.env.values())):
            self.tell("names a file of this machine: a pod does not have it")
        env = [self._variable(name, value) for name, value in found.env.items()]
        names = list(found.env)
        args = [self._argument(before, word, env, names) for before, word in _pairs(found.args)]
        spec: Object = {"command": found.command}
        if args:
            spec["args"] = args
        if env:
            spec["env"] = env
        return spec

    def _remote(self, found: Entry) -> Object:
        assert found.url is not None
        url, authorization = _without_userinfo(found.url)
        headers = {name: value.strip() for name, value in found.headers.items() if value.strip()}
        if authorization is not None:
            self.tell("the user and password in its url become a header, Authorization, whose value is in a Secret")
            headers = {"Authorization": authorization} | headers
        if _REFERENCE.search(url):
            raise NotImportable("its url holds ${…}, which the client fills in: write the whole url")
        query = urlsplit(url).query
        if any(is_credential(*part.partition("=")[::2]) for part in query.split("&")):
            self.tell("its url holds what looks like a credential, IN THE MANIFEST: the server should take a header")
        spec: Object = {"url": url}
        if found.transport != "auto":
            spec["transport"] = found.transport
        written = [self._header(name, value) for name, value in headers.items() if not self._is_own(name)]
        if written:
            spec["headers"] = written
        return spec

    def _is_own(self, header: str) -> bool:
        if header.lower() in OWN_HEADERS:
            self.tell(f"the header {header} is left out: the transport sets it")
            return True
        return False

    def _variable(self, name: str, value: str) -> Object:
        if self._is_kept(f"env.{name}", name, value):
            return {"name": name, "valueFrom": self._in_secret(name, value)}
        return {"name": name, "value": _literal(value)}

    def _header(self, name: str, value: str) -> Object:
        if self._is_kept(f"headers.{name}", name, value):
            return {"name": name, "valueFrom": self._in_secret(name, value)}
        return {"name": name, "value": value}

    def _is_kept(self, where: str, name: str, value: str) -> bool:
        """Whether a value goes into the Secret: a credential, or what the client would fill in."""
        if _REFERENCE.search(value):
            self.tell(f"{where} is filled in by the client: write the value into the Secret {self.secret_name}")
            return True
        return is_credential(name, value)

    def _in_secret(self, key: str, value: str) -> Object:
        key = re.sub(r"[^-._a-zA-Z0-9]", "-", key)
        self.secret[key] = PLACEHOLDER if _REFERENCE.search(value) else value
        return {"secretKeyRef": {"name": self.secret_name, "key": key}}

    def _argument(self, before: str, word: str, env: list[Object], names: list[str]) -> str:
        """An argument; a credential in it becomes a variable, which Kubernetes fills in: `$(NAME)`."""
        lead, name, value = _credential_in(before, word)
        if name is None:
            reference = _NAMED_REFERENCE.search(word)
            if reference is None or reference[1] in names:
                return _literal(word)
            lead, name, value = _literal(word[: reference.start()]), reference[1], reference[0]
            tail = _literal(word[reference.end() :])
        else:
            lead, tail = _literal(lead), ""
        variable = variable_name(name, names)
        names.append(variable)
        env.append({"name": variable, "valueFrom": self._in_secret(variable, value)})
        filled = " is filled in by the client: write the value into the Secret" if _REFERENCE.search(value) else ""
        self.tell(f"an argument{filled or ' looks like a credential: its value is in the Secret'} {self.secret_name}")
        return f"{lead}$({variable}){tail}"


def _credential_in(before: str, word: str) -> tuple[str, str | None, str]:
    """What stands before a credential in an argument, the name to give it (None: there is none) and itself."""
    if before.startswith("-") and "=" not in before and is_secretive(before, word) and not word.startswith("-"):
        return "", before, word
    for pattern in (_OPTION, _HEADER):
        match = pattern.fullmatch(word)
        if match and is_credential(match[1], match[2]):
            return word[: match.start(2)], match[1], match[2]
    return ("", "credential", word) if looks_secret(word) else ("", None, word)


def _pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Each word with the one before it."""
    found = ["", *words]
    return list(itertools.pairwise(found))


def _literal(text: str) -> str:
    """The text so that Kubernetes leaves it as it is: it expands `$(NAME)`, and `$$` is `$` (core/v1 Container, `args`)."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def _without_userinfo(url: str) -> tuple[str, str | None]:
    """The URL without its user and password, and these as the value of `Authorization` (RFC 7617)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, None
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    encoded = base64.b64encode(unquote(userinfo).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {encoded}"


def _metadata(name: str, namespace: str | None, labels: Mapping[str, str] | None = None) -> Object:
    body: Object = {"name": name}
    if namespace is not None:
        body["namespace"] = namespace
    return body | ({"labels": dict(labels)} if labels else {})


def _proxy(name: str, namespace: str | None) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "McpProxy",
        "metadata": _metadata(name, namespace),
        "spec": {"servers": {"selector": {"matchLabels": {LABEL: name}}}},
    }
