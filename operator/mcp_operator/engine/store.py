"""What the watch streams have told: the newest known state of every object, with the indexes that reconcilers ask for.

Observations arrive out of order (watch, relist, answers to one's own writes), so the store compares `resourceVersion`s: since
KEP-5504 (Kubernetes 1.35) they are decimal numbers that may be compared within one resource, as etcd-backed servers always had
them. An older observation never replaces a newer one, and a deletion is remembered for as long as an older one may still arrive.

Objects are shared, not copied: treat everything that the store returns as read-only.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from mcp_operator.engine.keys import Key

Object = Mapping[str, Any]
"""A Kubernetes object as the API server sends it, without `metadata.managedFields`. Read-only."""

_TOMBSTONES = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """What an observation changed. `old` is None when added, `new` is None when removed."""

    key: Key
    old: Object | None
    new: Object | None

    @property
    def type(self) -> Literal["added", "modified", "removed"]:
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "modified"

    @property
    def recreated(self) -> bool:
        """Another object of the same name took the old one's place, and no deletion was seen between them."""
        return self.old is not None and self.new is not None and _uid(self.old) != _uid(self.new)


Objects = list[Object]
Changes = list[Change]
_Index = TypeVar("_Index", bound=Hashable)
_Labelled: TypeAlias = tuple[str, str, str, str]
"""Kind, namespace, label and value."""


class Store:
    """Objects by kind, namespace and name; indexed by owner's uid and by the labels in `label_indexes`.

    Objects of the kinds in `labelled` are indexed by all of their labels.
    """

    def __init__(self, *, label_indexes: Iterable[str] = (), labelled: Iterable[str] = ()) -> None:
        self._objects: defaultdict[str, dict[str, dict[str, Object]]] = defaultdict(dict)
        self._label_names = frozenset(label_indexes)
        self._labelled = frozenset(labelled)
        self._by_label: defaultdict[_Labelled, set[Key]] = defaultdict(set)
        self._by_owner: defaultdict[str, set[Key]] = defaultdict(set)
        self._tombstones: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(names) for namespaces in self._objects.values() for names in namespaces.values())

    def get(self, key: Key) -> Object | None:
        return self._objects[key.kind].get(key.namespace, {}).get(key.name)

    def list(self, kind: str, namespace: str | None = None) -> Objects:
        """All objects of a kind (of one namespace), in no particular order."""
        return [body for _, body in self._entries(kind, namespace)]

    def by_label(self, kind: str, label: str, value: str, namespace: str | None = None) -> Objects:
        """Objects that carry `label: value`, by index. `ValueError` if the store does not index that label."""
        if label not in self._label_names and kind not in self._labelled:
            raise ValueError(f"label {label} is not indexed; name it in label_indexes")
        chosen = [*self._objects[kind]] if namespace is None else [namespace]
        return [self._known(key) for where in chosen for key in self._by_label.get((kind, where, label, value), ())]

    def matching(self, kind: str, namespace: str, labels: Mapping[str, str]) -> Objects:
        """Objects of a namespace that carry all of `labels`: as many are looked at as carry the rarest of them.

        `ValueError` if the kind is not one of those in `labelled`.
        """
        if kind not in self._labelled:
            raise ValueError(f"{kind} is not indexed by its labels; name it in labelled")
        if not labels:
            return self.list(kind, namespace)
        sets = [self._by_label.get((kind, namespace, *label), set()) for label in labels.items()]
        first, *others = sorted(sets, key=len)
        return [self._known(key) for key in first if all(key in other for other in others)]

    def owned_by(self, uid: str, kind: str | None = None) -> dict[Key, Object]:
        """Objects that have an owner reference to `uid`, the controller's or another's (`is_controlled_by` tells)."""
        keys = self._by_owner.get(uid, ())
        return {key: self._known(key) for key in keys if kind is None or key.kind == kind}

    def observe(self, kind: str, body: Mapping[str, Any]) -> Change | None:
        """Remember an object. None when it is what was known, or older than that, or older than its deletion."""
        key = Key.of(kind, body)
        version = _version(body)
        if version is not None and version <= self._tombstones.get(key, -1):
            return None
        old = self.get(key)
        new = _slim(body)
        if old is not None and not _replaces(old, new):
            return None
        self._tombstones.pop(key, None)
        self._put(key, old, new)
        return Change(key, old, new)

    def remove(
        self, kind: str, namespace: str, name: str, uid: str | None = None, resource_version: str | None = None
    ) -> Change | None:
        """Forget an object. None if it was not known, or if one of another `uid` or of later version has its name by now.

        `resource_version` is that of the deletion (a DELETED event carries it): observations up to it are then ignored.
        """
        key = Key(kind, namespace, name)
        old = self.get(key)
        deleted_at = number(resource_version)
        if old is None:
            self._bury(key, deleted_at)
            return None
        known_at = _version(old)
        outdated = deleted_at is not None and known_at is not None and deleted_at < known_at
        if outdated or (uid is not None and _uid(old) != uid):
            return None
        self._bury(key, deleted_at)
        self._bury(key, known_at)
        self._drop(key, old)
        return Change(key, old, None)

    def replace(
        self,
        kind: str,
        items: Iterable[Mapping[str, Any]],
        *,
        resource_version: str | None = None,
        namespace: str | None = None,
    ) -> Changes:
        """Take over a LIST of a kind (of one namespace): what it added, changed, and no longer has.

        `resource_version` is the list's own: an object that was observed after it is newer than the list and stays.
        """
        changes: Changes = []
        listed: set[Key] = set()
        for body in items:
            listed.add(Key.of(kind, body))
            change = self.observe(kind, body)
            if change is not None:
                changes.append(change)
        as_of = number(resource_version)
        for key, body in [*self._entries(kind, namespace)]:
            seen = _version(body)
            if key in listed or (as_of is not None and seen is not None and seen > as_of):
                continue
            self._bury(key, as_of)
            self._drop(key, body)
            changes.append(Change(key, body, None))
        return changes

    def _entries(self, kind: str, namespace: str | None) -> Iterator[tuple[Key, Object]]:
        namespaces = self._objects[kind]
        chosen = namespaces if namespace is None else {namespace: namespaces.get(namespace, {})}
        for where, names in chosen.items():
            for name, body in names.items():
                yield Key(kind, where, name), body

    def _known(self, key: Key) -> Object:
        return self._objects[key.kind][key.namespace][key.name]

    def _put(self, key: Key, old: Object | None, new: Object) -> None:
        if old is not None:
            self._unindex(key, old)
        self._objects[key.kind].setdefault(key.namespace, {})[key.name] = new
        for index in self._labels(key, new):
            self._by_label[index].add(key)
        for uid in _owner_uids(new):
            self._by_owner[uid].add(key)

    def _drop(self, key: Key, old: Object) -> None:
        self._unindex(key, old)
        names = self._objects[key.kind][key.namespace]
        del names[key.name]
        if not names:
            del self._objects[key.kind][key.namespace]

    def _unindex(self, key: Key, old: Object) -> None:
        for index in self._labels(key, old):
            _discard(self._by_label, index, key)
        for uid in _owner_uids(old):
            _discard(self._by_owner, uid, key)

    def _labels(self, key: Key, body: Object) -> Iterator[_Labelled]:
        labels = body["metadata"].get("labels") or {}
        for label in labels.keys() if key.kind in self._labelled else self._label_names & labels.keys():
            yield key.kind, key.namespace, label, labels[label]

    def _bury(self, key: Key, version: int | None) -> None:
        if version is None:
            return
        self._tombstones[key] = max(version, self._tombstones.pop(key, -1))
        if len(self._tombstones) > _TOMBSTONES:
            self._tombstones.popitem(last=False)


def is_controlled_by(body: Object, uid: str) -> bool:
    """Whether `uid` is the one owner that manages `body` (an owner reference with `controller: true`)."""
    owners = body["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == uid and owner.get("controller") is True for owner in owners)


def _slim(body: Mapping[str, Any]) -> Object:
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}


def _replaces(old: Object, new: Object) -> bool:
    before, after = _version(old), _version(new)
    if before is not None and after is not None:
        return after > before
    return old != new


def _version(body: Object) -> int | None:
    return number(body["metadata"].get("resourceVersion"))


def number(resource_version: str | None) -> int | None:
    """The comparable value of a resourceVersion; None for one that is opaque (KEP-5504: decimal, no leading zero)."""
    if resource_version and resource_version.isascii() and resource_version.isdigit() and resource_version[0] != "0":
        return int(resource_version)
    return None


def _uid(body: Object) -> str | None:
    uid: str | None = body["metadata"].get("uid")
    return uid


def _owner_uids(body: Object) -> set[str]:
    return {owner["uid"] for owner in body["metadata"].get("ownerReferences") or () if "uid" in owner}


def _discard(index: dict[_Index, set[Key]], at: _Index, key: Key) -> None:
    keys = index.get(at)
    if keys is None:
        return
    keys.discard(key)
    if not keys:
        del index[at]
