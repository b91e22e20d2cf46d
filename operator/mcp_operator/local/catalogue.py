"""What all files say together, over time: the last good version of everything, who is older, what contradicts itself."""

import hmac
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar, cast

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, Resource
from mcp_operator.compile.lookup import DataId, DataKind, DataObject
from mcp_operator.compile.servers import IDENTITY_KEY, has_key, identity_name
from mcp_operator.engine.keys import Key
from mcp_operator.local.manifests import Diagnostic, FileContent, Manifest, Severity, named

R = TypeVar("R", McpServer, McpProxy, McpRoute)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The declared world. `refused` has, for an object, why its newest version is not the one in use.

    What stands in `refused` and nowhere else has never had a good version.
    """

    resources: Mapping[Key, Resource] = field(default_factory=dict)
    objects: Mapping[DataId, DataObject] = field(default_factory=dict)
    refused: Mapping[Key, Diagnostic] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the Namespaces that are declared, by name."""
    places: Mapping[Key, str] = field(default_factory=dict)
    """Where each stands: `file:line`."""

    @property
    def servers(self) -> list[McpServer]:
        return self._of(McpServer)

    @property
    def proxies(self) -> list[McpProxy]:
        return self._of(McpProxy)

    @property
    def routes(self) -> list[McpRoute]:
        return self._of(McpRoute)

    def _of(self, model: type[R]) -> list[R]:
        return [resource for _, resource in sorted(self.resources.items()) if isinstance(resource, model)]


def with_identities(snapshot: Snapshot, key: bytes) -> Snapshot:
    """With a key for each server that runs behind a bridge, derived from `key`: in a cluster the operator makes them."""
    keys: dict[DataId, DataObject] = {
        ("Secret", server.metadata.namespace, identity_name(server)): DataObject(
            "new", {IDENTITY_KEY: _derived(key, server.id)}
        )
        for server in snapshot.servers
        if has_key(server)
    }
    return replace(snapshot, objects={**keys, **snapshot.objects}) if keys else snapshot


def _derived(key: bytes, server_id: str) -> bytes:
    return hmac.digest(key, server_id.encode(), "sha256").hex().encode()


@dataclass(slots=True)
class _Known:
    manifest: Manifest
    created: datetime
    version: int
    """Of the content: no other one that was ever declared under the name has it."""
    generation: int = 1


class Catalogue:
    """Takes the files as they are now, each time; remembers what it needs to keep a good version when a file breaks.

    It gives each resource what an API server would: a generation that counts its specs, and a time of creation. What comes
    together is equally old, as it mostly is after `kubectl apply` of a folder: then the name decides who wins a conflict.
    """

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}
        self._versions: Counter[Key] = Counter()

    def update(self, files: Iterable[FileContent], now: datetime) -> Snapshot:
        """The world as `files` say, in their order. A file that is not among them is gone, with all that it said."""
        contents = {content.path: content for content in files}
        diagnostics = [diagnostic for content in contents.values() for diagnostic in content.diagnostics]
        chosen = self._choose(contents.values(), diagnostics)
        refused = {about: why for content in contents.values() for about, why in content.invalid.items()}
        kept = {
            about: known.manifest
            for about, known in self._known.items()
            if about not in chosen and _is_still_meant(known.manifest, contents)
        }
        for about in self._known.keys() - chosen.keys() - kept.keys():
            del self._known[about]
        for about, manifest in chosen.items():
            self._learn(about, manifest, now)
        for about, manifest in kept.items():
            if about not in refused:
                refused[about] = next(d for d in contents[manifest.path].diagnostics if d.severity is Severity.ERROR)
        return Snapshot(
            resources={about: resource for about, known in self._known.items() if (resource := _resource(known))},
            objects=dict(filter(None, (_data_object(about, known) for about, known in self._known.items()))),
            labels={
                about.name: known.manifest.labels
                for about, known in self._known.items()
                if known.manifest.labels is not None
            },
            refused={about: why for about, why in refused.items() if about not in chosen},
            diagnostics=tuple(diagnostics),
            places={about: f"{known.manifest.path}:{known.manifest.line}" for about, known in self._known.items()},
        )

    def _choose(self, contents: Iterable[FileContent], diagnostics: list[Diagnostic]) -> dict[Key, Manifest]:
        """One manifest for each object: the one in use, if it is still there, or else the first."""
        candidates: dict[Key, list[Manifest]] = {}
        for content in contents:
            for manifest in content.manifests:
                candidates.setdefault(manifest.key, []).append(manifest)
        chosen = {}
        for about, manifests in candidates.items():
            known = self._known.get(about)
            in_use = [manifest for manifest in manifests if known and manifest.path == known.manifest.path]
            chosen[about] = winner = (in_use or manifests)[0]
            for loser in manifests:
                if loser is not winner:
                    text = f"{named(about)} is defined at {winner.path}:{winner.line} already; rename or remove one of the two"
                    diagnostics.append(Diagnostic(loser.path, loser.line, text))
        return chosen

    def _learn(self, about: Key, manifest: Manifest, now: datetime) -> None:
        known = self._known.get(about)
        changed = known is None or _substance(manifest) != _substance(known.manifest)
        self._versions[about] += changed
        if known is None:
            self._known[about] = _Known(manifest, now, self._versions[about])
            return
        known.generation += changed
        known.version = self._versions[about]
        known.manifest = manifest


def _is_still_meant(manifest: Manifest, contents: Mapping[str, FileContent]) -> bool:
    content = contents.get(manifest.path)
    return content is not None and (content.unclear or manifest.key in content.invalid)


def _substance(manifest: Manifest) -> object:
    return manifest.resource.spec if manifest.resource else (manifest.data, manifest.labels)


def _resource(known: _Known) -> Resource | None:
    resource = known.manifest.resource
    if resource is None:
        return None
    metadata = resource.metadata.model_copy(
        update={"generation": known.generation, "creation_timestamp": known.created, "resource_version": ""}
    )
    return resource.model_copy(update={"metadata": metadata})


def _data_object(about: Key, known: _Known) -> tuple[DataId, DataObject] | None:
    """The version is a count: it must say that a secret changed, and nothing about what it is."""
    if known.manifest.data is None:
        return None
    return (cast("DataKind", about.kind), about.namespace, about.name), DataObject(
        str(known.version), known.manifest.data
    )
