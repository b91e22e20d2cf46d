"""A client of the API server that asks it what a write would make, and writes nothing.

Every write carries `dryRun=All`: defaults, validation and admission are those of the real one.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mcp_operator.api import meta
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import NotFound

Object = dict[str, Any]
APPLIER: Final = "kubectl"
"""The field manager of `kubectl apply --server-side`."""
_WRITERS: Final = frozenset({APPLIER, meta.FIELD_MANAGER})
_ABOVE: Final = 10**15
"""More than the resourceVersion of anything: of what is there only in the plan."""
_GIVEN: Final = frozenset({"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"})
"""What each dry run invents anew."""
_NO_NAMESPACE: Final = 'namespaces "'
"""How an API server begins its answer to what is put into a namespace that does not exist."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object as it is (None: not there) and as it would be (None: gone). The bodies may hold secrets."""

    before: Object | None = field(repr=False)
    after: Object | None = field(repr=False)

    @property
    def body(self) -> Object:
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def action(self) -> Literal["create", "change", "delete"]:
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"


@dataclass(frozen=True, slots=True)
class _Made:
    """What the API server had, and what was answered."""

    before: Object | None
    answer: Object


class DryRun(KubeClient):
    """Remembers what would change by path, in the order of the first writes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.changes: dict[str, Change] = {}
        self.overlay: dict[str, Object] = {}
        """Objects by path that are read as if they were in the cluster."""
        self.unchecked: set[str] = set()
        """Namespaces that do not exist, so that the API server can't say what it would make of what is put there."""
        self.writes = 0
        self._handed_over: dict[str, Object] = {}
        self._made: dict[str, _Made] = {}
        """What was answered last, by path: to ask for the same again is no write."""

    async def get(self, path: str) -> Object | None:
        return self.overlay.get(path) or await super().get(path)

    async def apply(
        self, path: str, body: Object, *, field_manager: str, force: bool = True, dry_run: bool = True
    ) -> Object:
        """What server-side apply would make. Where namespace or kind do not exist: `body` as it is.

        Fields that are handed over to another manager stay as that one has them: of several dry runs each knows nothing
        of those before it.
        """
        del dry_run
        before = await super().get(path)
        if field_manager not in _WRITERS:
            self._handed_over[path] = body
            return before or body
        body = _united(body, self._handed_over.get(path, {}))
        if before is None:
            body = _without_uid(body)
        try:
            after = await super().apply(path, body, field_manager=field_manager, force=force, dry_run=True)
        except NotFound as error:
            if _NO_NAMESPACE in str(error):
                self.unchecked.add(body["metadata"]["namespace"])
            after = body
        known = self._made.get(path)
        if known is not None and known.before == before and _substance(known.answer) == _substance(after):
            return known.answer
        self._made[path] = made = _Made(before, self._noted(path, before, after))
        return made.answer

    async def patched(self, path: str, patch: Object, before: Object) -> Object:
        """What a merge patch (RFC 7386) would make of an object."""
        return self._noted(path, before, await super().merge_patch(path, patch, dry_run=True))

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, propagation: str = "Background"
    ) -> bool:
        del uid, resource_version, propagation
        before = await super().get(path)
        if before is not None:
            self._note(path, before, None)
        return before is not None

    def _noted(self, path: str, before: Object | None, after: Object) -> Object:
        """`after` with a version of its own: a dry run leaves the old one, and who keeps objects by version would not see it."""
        self._note(path, before, after)
        version = (before or {}).get("metadata", {}).get("resourceVersion", "")
        later = (int(version) if version.isdigit() else _ABOVE) + self.writes
        return {**after, "metadata": {**after["metadata"], "resourceVersion": str(later)}}

    def _note(self, path: str, before: Object | None, after: Object | None) -> None:
        self.writes += 1
        self.changes[path] = Change(before, after)

    async def _call(self, method: str, path: str, **options: Any) -> Object:
        """The last line: nothing leaves that would write."""
        if method != "GET" and ("dryRun", "All") not in (options.get("query") or ()):
            raise AssertionError(f"a plan writes nothing, and would: {method} {path}")
        return await super()._call(method, path, **options)


def _without_uid(body: Object) -> Object:
    """Without the uid that a dry run before this one invented: there is no such object."""
    return {**body, "metadata": {name: value for name, value in body["metadata"].items() if name != "uid"}}


def _substance(body: Object) -> Object:
    return {**body, "metadata": {name: value for name, value in body["metadata"].items() if name not in _GIVEN}}


def _united(one: Object, other: Object) -> Object:
    """Both; `other` where they differ."""
    found = dict(one)
    for key, value in other.items():
        mine = found.get(key)
        found[key] = _united(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found
