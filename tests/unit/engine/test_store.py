"""The store under observations that arrive out of order.

| what is known            | what comes                        | what must hold                     |
| nothing                  | an object                         | added                              |
| version 5                | version 5, 4                      | nothing changes                    |
| version 5                | version 6, also of another uid    | modified; the indexes follow       |
| opaque version           | an equal body, a different body   | nothing; modified                  |
| deleted at 7             | an observation of 6               | ignored: no ghost                  |
| deleted at 7             | an observation of 8               | added: it was created anew         |
| another uid by that name | a deletion of the old uid         | ignored                            |
| a LIST as of 10          | what it lacks, older than 10      | removed                            |
| a LIST as of 10          | what it lacks, observed at 11     | stays                              |
"""

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.engine.facts import Facts
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store, is_controlled_by

APP = "app.kubernetes.io/name"
KEY = Key("Thing", "ns", "a")


def thing(
    name: str = "a",
    version: int | str = 1,
    *,
    namespace: str = "ns",
    uid: str | None = None,
    labels: dict[str, str] | None = None,
    owner: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "managedFields": [{"manager": "kubectl"}],
    }
    if labels is not None:
        metadata["labels"] = labels
    if owner is not None:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"metadata": metadata, **fields}


def names(objects: Any) -> list[str]:
    return sorted(body["metadata"]["name"] for body in objects)


def test_an_object_is_kept_without_managed_fields_and_the_callers_copy_is_left_alone() -> None:
    store, body = Store(), thing(spec={"x": 1})
    before = copy.deepcopy(body)
    change = store.observe("Thing", body)
    assert change is not None
    assert (change.type, change.key, change.old) == ("added", KEY, None)
    assert body == before
    kept = store.get(KEY)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {"x": 1}
    assert len(store) == 1


@pytest.mark.parametrize(
    ("known", "came", "expected"),
    [
        (5, 5, None),
        (5, 4, None),
        (9, 10, "modified"),  # by number, not by text
        (10, 9, None),
        ("5", "abc", "modified"),  # not comparable: the later observation wins
        ("abc", "5", "modified"),
        ("05", "04", "modified"),  # a leading zero is no number that a server writes
    ],
)
def test_the_newer_observation_wins(known: int | str, came: int | str, expected: str | None) -> None:
    store = Store()
    store.observe("Thing", thing(version=known, spec=1))
    change = store.observe("Thing", thing(version=came, spec=2))
    assert (change.type if change else None) == expected
    kept = store.get(KEY)
    assert kept is not None
    assert kept["spec"] == (2 if expected else 1)


def test_an_equal_body_of_an_opaque_version_is_no_change() -> None:
    store = Store()
    store.observe("Thing", thing(version="v"))
    assert store.observe("Thing", thing(version="v")) is None


def test_a_recreated_object_is_told_as_such() -> None:
    store = Store()
    store.observe("Thing", thing(version=1, uid="one"))
    change = store.observe("Thing", thing(version=2, uid="two"))
    assert change is not None
    assert change.recreated
    same = store.observe("Thing", thing(version=3, uid="two"))
    assert same is not None
    assert not same.recreated


def test_a_removed_object_does_not_come_back_by_a_late_observation() -> None:
    store = Store()
    store.observe("Thing", thing(version=5))
    change = store.remove("Thing", "ns", "a", "uid-a", resource_version="7")
    assert change is not None
    assert (change.type, change.new) == ("removed", None)
    assert store.observe("Thing", thing(version=6)) is None
    assert store.get(KEY) is None
    again = store.observe("Thing", thing(version=8, uid="new"))
    assert again is not None
    assert again.type == "added"


def test_a_deletion_seen_before_any_observation_is_remembered() -> None:
    store = Store()
    assert store.remove("Thing", "ns", "a", resource_version="7") is None
    assert store.observe("Thing", thing(version=6)) is None


def test_removing_an_unknown_object_or_one_of_another_uid_changes_nothing() -> None:
    store = Store()
    assert store.remove("Thing", "ns", "a") is None
    store.observe("Thing", thing(version=5, uid="new"))
    assert store.remove("Thing", "ns", "a", uid="old", resource_version="9") is None
    assert store.get(KEY) is not None
    assert store.observe("Thing", thing(version=8, uid="new")) is not None


def test_lists_are_by_kind_and_namespace() -> None:
    store = Store()
    for body in (thing("a"), thing("b"), thing("c", namespace="other")):
        store.observe("Thing", body)
    store.observe("Other", thing("z"))
    assert names(store.list("Thing")) == ["a", "b", "c"]
    assert names(store.list("Thing", "ns")) == ["a", "b"]
    assert names(store.list("Thing", "nowhere")) == []
    assert names(store.list("Nothing")) == []


def test_the_label_index_follows_changes_and_removals() -> None:
    store = Store(label_indexes=[APP])
    store.observe("Thing", thing("a", 1, labels={APP: "x", "free": "y"}))
    store.observe("Thing", thing("b", 1, labels={APP: "x"}, namespace="other"))
    assert names(store.by_label("Thing", APP, "x")) == ["a", "b"]
    assert names(store.by_label("Thing", APP, "x", "ns")) == ["a"]
    assert names(store.by_label("Other", APP, "x")) == []
    store.observe("Thing", thing("a", 2, labels={APP: "changed"}))
    assert names(store.by_label("Thing", APP, "x")) == ["b"]
    assert names(store.by_label("Thing", APP, "changed")) == ["a"]
    store.remove("Thing", "other", "b")
    assert names(store.by_label("Thing", APP, "x")) == []
    with pytest.raises(ValueError, match="free is not indexed"):
        store.by_label("Thing", "free", "y")


def test_objects_of_a_labelled_kind_are_found_by_any_labels() -> None:
    store = Store(labelled=["Thing"])
    store.observe("Thing", thing("a", 1, labels={"team": "core", "tier": "gold"}))
    store.observe("Thing", thing("b", 1, labels={"team": "core"}))
    store.observe("Thing", thing("c", 1, labels={"team": "core"}, namespace="other"))
    store.observe("Thing", thing("d", 1))
    assert names(store.matching("Thing", "ns", {"team": "core"})) == ["a", "b"]
    assert names(store.matching("Thing", "ns", {"team": "core", "tier": "gold"})) == ["a"]
    assert names(store.matching("Thing", "ns", {"team": "core", "tier": "tin"})) == []
    assert names(store.matching("Thing", "ns", {})) == ["a", "b", "d"]
    store.observe("Thing", thing("b", 2, labels={"team": "data"}))
    store.remove("Thing", "ns", "a")
    assert names(store.matching("Thing", "ns", {"team": "core"})) == []
    with pytest.raises(ValueError, match="Other is not indexed"):
        store.matching("Other", "ns", {})


def test_the_owner_index_follows_changes_and_removals() -> None:
    store = Store()
    store.observe("Pod", thing("p", 1, owner="u1"))
    store.observe("Service", thing("s", 1, owner="u1"))
    assert set(store.owned_by("u1")) == {Key("Pod", "ns", "p"), Key("Service", "ns", "s")}
    assert names(store.owned_by("u1", "Pod").values()) == ["p"]
    store.observe("Pod", thing("p", 2, owner="u2"))
    store.remove("Service", "ns", "s")
    assert store.owned_by("u1") == {}
    assert names(store.owned_by("u2").values()) == ["p"]


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (None, False),
        ([], False),
        ([{"uid": "u"}], False),
        ([{"uid": "u", "controller": False}], False),
        ([{"uid": "v", "controller": True}], False),
        ([{"uid": "v"}, {"uid": "u", "controller": True}], True),
    ],
)
def test_only_the_controller_owner_controls(owners: Any, expected: bool) -> None:
    assert is_controlled_by({"metadata": {"ownerReferences": owners}}, "u") is expected


def test_a_list_tells_what_was_added_changed_and_vanished() -> None:
    store = Store()
    for body in (thing("same", 1), thing("changed", 2), thing("vanished", 3)):
        store.observe("Thing", body)
    store.observe("Other", thing("vanished", 3))
    changes = store.replace("Thing", [thing("same", 1), thing("changed", 5), thing("added", 6)], resource_version="10")
    assert {(change.key.name, change.type) for change in changes} == {
        ("changed", "modified"),
        ("added", "added"),
        ("vanished", "removed"),
    }
    assert names(store.list("Thing")) == ["added", "changed", "same"]
    assert len(store.list("Other")) == 1
    assert store.observe("Thing", thing("vanished", 9)) is None, "older than the list that did not have it"
    assert store.replace("Thing", [*store.list("Thing")], resource_version="10") == []


def test_a_list_that_is_older_than_an_observation_removes_and_overwrites_nothing() -> None:
    store = Store()
    store.observe("Thing", thing("created-later", 11))
    store.observe("Thing", thing("changed-later", 12, spec="new"))
    store.remove("Thing", "ns", "deleted-later", resource_version="13")
    changes = store.replace(
        "Thing", [thing("changed-later", 4, spec="old"), thing("deleted-later", 5)], resource_version="10"
    )
    assert changes == []
    assert names(store.list("Thing")) == ["changed-later", "created-later"]


def test_a_list_of_one_namespace_leaves_the_others() -> None:
    store = Store()
    store.observe("Thing", thing("a"))
    store.observe("Thing", thing("b", namespace="other"))
    changes = store.replace("Thing", [], namespace="ns")
    assert [change.key for change in changes] == [KEY]
    assert names(store.list("Thing")) == ["b"]


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete"])), min_size=1, max_size=25)


@given(events=EVENTS, order=st.randoms(use_true_random=False), data=st.data())
def test_any_order_of_delivery_ends_in_the_servers_state(
    events: list[tuple[str, str]], order: Any, data: st.DataObject
) -> None:
    """A server writes a history; its events are delivered shuffled, some of them twice; the store ends where the server did."""
    server: dict[str, dict[str, Any]] = {}
    history: list[tuple[str, dict[str, Any]]] = []
    incarnation = 0
    for version, (name, event) in enumerate(events, start=1):
        labels = {APP: data.draw(st.sampled_from(["x", "y"]))}
        if event == "put":
            incarnation += name not in server
            uid = server[name]["metadata"]["uid"] if name in server else f"{name}-{incarnation}"
            server[name] = thing(name, version, uid=uid, labels=labels, owner=f"owner-{labels[APP]}")
            history.append(("put", server[name]))
        elif name in server:
            last = server.pop(name)
            history.append(("delete", {**last, "metadata": {**last["metadata"], "resourceVersion": str(version)}}))
    store = Store(label_indexes=[APP])
    delivery = history + history[::2]
    order.shuffle(delivery)
    for event, body in delivery:
        meta = body["metadata"]
        if event == "put":
            store.observe("Thing", body)
        else:
            store.remove("Thing", meta["namespace"], meta["name"], resource_version=meta["resourceVersion"])
    assert names(store.list("Thing")) == sorted(server)
    for name, body in server.items():
        kept = store.get(Key("Thing", "ns", name))
        assert kept is not None
        assert kept["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]
    for value in ("x", "y"):
        expected = sorted(name for name, body in server.items() if body["metadata"]["labels"][APP] == value)
        assert names(store.by_label("Thing", APP, value)) == expected
        assert names(store.owned_by(f"owner-{value}").values()) == expected


def test_costs_grow_with_the_number_of_objects_and_not_with_its_square() -> None:
    def cpu_seconds(count: int) -> float:
        store = Store(label_indexes=[APP])
        bodies = [thing(str(n), 1 + n, labels={APP: str(n)}, owner=f"o{n}") for n in range(count)]
        started = time.process_time()
        store.replace("Thing", bodies, resource_version=str(count))
        for number in range(count):
            assert len(store.owned_by(f"o{number}")) == 1
            assert len(store.by_label("Thing", APP, str(number))) == 1
            store.observe("Thing", thing(str(number), count + 1 + number, labels={APP: "same"}, owner="same"))
        return time.process_time() - started

    cpu_seconds(500)
    assert cpu_seconds(8000) < 40 * max(cpu_seconds(1000), 0.005), "8 times the objects: 64 times when quadratic"


def test_facts_tell_news_by_equality_or_as_asked() -> None:
    facts = Facts[Key, tuple[str, float]](same=lambda old, new: old[0] == new[0])
    assert facts.set(KEY, ("up", 0.1)) is True
    assert facts.set(KEY, ("up", 0.2)) is False
    assert facts[KEY] == ("up", 0.2)
    assert facts.set(KEY, ("down", 0.2)) is True
    assert facts.get(Key("Thing", "ns", "other")) is None
    assert facts.retain([]) == [KEY]
    assert facts.discard(KEY) is False
    plain = Facts[str, int | None]()
    assert plain.set("a", None) is True
    assert plain.set("a", None) is False
    assert dict(plain) == {"a": None}
    assert plain.discard("a") is True


def test_a_key_is_named_as_people_write_it() -> None:
    assert str(KEY) == "Thing/ns/a"
    assert Key.of("Node", {"metadata": {"name": "n"}}) == Key("Node", "", "n")
    with pytest.raises(KeyError):
        Key.of("Node", {"metadata": {}})
