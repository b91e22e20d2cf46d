"""Files over time: last good versions, generations, ages, versions of secrets, duplicates."""

import json
from datetime import UTC, datetime, timedelta

from mcp_operator.api.resources import McpServer
from mcp_operator.engine.keys import Key
from mcp_operator.local.catalogue import Catalogue, Snapshot
from mcp_operator.local.manifests import read_manifests, unreadable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def server(name: str, *args: str) -> str:
    return (
        "---\napiVersion: mcp-operator.dev/v1alpha1\nkind: McpServer\n"
        f"metadata: {{name: {name}}}\nspec: {{stdio: {{command: run, args: {json.dumps(args)}}}}}\n"
    )


def secret(value: str) -> str:
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{token: {value}}}\n"


def key(name: str) -> Key:
    return Key("McpServer", "default", name)


class Files:
    """A catalogue and the files that it is shown, by name; time goes on by a minute each time."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self.texts: dict[str, str | None] = {}
        self.now = NOW

    def show(self, **texts: str | None) -> Snapshot:
        """Change files (None: can't be read) and look."""
        self.texts |= texts
        self.now += timedelta(minutes=1)
        return self.look()

    def remove(self, name: str) -> Snapshot:
        del self.texts[name]
        return self.look()

    def look(self) -> Snapshot:
        contents = [
            unreadable(name, "can't be read") if text is None else read_manifests(name, text.encode())
            for name, text in self.texts.items()
        ]
        return self.catalogue.update(contents, self.now)


def args(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    resource = snapshot.resources[key(name)]
    assert isinstance(resource, McpServer)
    assert resource.spec.stdio
    return resource.spec.stdio.args


def generation(snapshot: Snapshot, name: str) -> int:
    return snapshot.resources[key(name)].metadata.generation


def test_the_generation_counts_specs_only() -> None:
    files = Files()
    assert generation(files.show(a=server("x", "1")), "x") == 1
    assert generation(files.show(a="# moved\n" + server("x", "1")), "x") == 1
    assert generation(files.show(a=server("x", "2")), "x") == 2


def test_older_is_what_came_before_and_of_what_came_together_the_name_decides() -> None:
    files = Files()
    first = files.show(b=server("x") + server("w"), c=server("v"))
    assert [s.metadata.name for s in sorted(first.servers, key=lambda s: s.age_key)] == ["v", "w", "x"]
    later = files.show(a=server("a"), b=server("x", "edited"))
    assert [s.metadata.name for s in sorted(later.servers, key=lambda s: s.age_key)] == ["v", "x", "a"]


def test_a_broken_file_keeps_all_that_it_said() -> None:
    files = Files()
    files.show(a=server("x", "1") + server("y", "1"), b=server("z"))
    broken = files.show(a=server("x", "2") + "\n\tthis: is [no YAML")
    assert args(broken, "x") == ("1",)
    assert set(broken.resources) == {key("x"), key("y"), key("z")}
    assert set(broken.refused) == {key("x"), key("y")}
    assert broken.refused[key("x")].line == 7
    mended = files.show(a=server("x", "2"))
    assert args(mended, "x") == ("2",)
    assert set(mended.resources) == {key("x"), key("z")}
    assert not mended.refused
    assert not mended.diagnostics


def test_an_invalid_document_keeps_its_own_last_good_version_alone() -> None:
    files = Files()
    files.show(a=server("x", "1") + server("y", "1"))
    snapshot = files.show(a=server("x", "2").replace("command", "comand") + server("y", "2"))
    assert args(snapshot, "x") == ("1",)
    assert args(snapshot, "y") == ("2",)
    assert set(snapshot.refused) == {key("x")}
    assert generation(snapshot, "x") == 1


def test_what_was_never_good_is_refused_and_nowhere_else() -> None:
    snapshot = Files().show(a=server("x").replace("command", "comand"))
    assert not snapshot.resources
    assert set(snapshot.refused) == {key("x")}


def test_an_unnamed_document_may_be_the_one_that_is_missing() -> None:
    files = Files()
    files.show(a=server("x") + server("y"))
    snapshot = files.show(a=server("x") + server("y").replace("name: y", "nme: y"))
    assert set(snapshot.resources) == {key("x"), key("y")}
    assert set(snapshot.refused) == {key("y")}
    assert set(files.show(a=server("x")).resources) == {key("x")}


def test_an_unreadable_file_keeps_what_it_said_and_a_deleted_one_does_not() -> None:
    files = Files()
    files.show(a=server("x"), b=server("y"))
    assert set(files.show(a=None).resources) == {key("x"), key("y")}
    assert set(files.remove("a").resources) == {key("y")}


def test_of_two_the_one_in_use_stays_until_its_file_goes() -> None:
    files = Files()
    files.show(b=server("x", "b"))
    files.texts = {"a": server("x", "a"), **files.texts}
    both = files.look()
    assert args(both, "x") == ("b",)
    (said,) = both.diagnostics
    assert str(said) == "a:2: McpServer default/x is defined at b:2 already; rename or remove one of the two"
    assert not both.refused
    alone = files.remove("b")
    assert args(alone, "x") == ("a",)
    assert not alone.diagnostics


def test_twice_in_one_file() -> None:
    snapshot = Files().show(a=server("x", "1") + server("x", "2"))
    assert args(snapshot, "x") == ("1",)
    assert [d.line for d in snapshot.diagnostics] == [7]


def test_a_file_may_be_renamed() -> None:
    files = Files()
    files.show(a=server("x", "1"))
    files.texts = {"b": server("x", "1")}
    snapshot = files.look()
    assert generation(snapshot, "x") == 1
    assert snapshot.places[key("x")] == "b:2"


def test_versions_of_a_secret_never_come_again() -> None:
    files = Files()
    about = ("Secret", "default", "s")

    def version(snapshot: Snapshot) -> str:
        return snapshot.objects[about].version  # type: ignore[index]

    seen = [version(files.show(a=secret("one"))), version(files.show(a=secret("two")))]
    assert version(files.show(a="# a comment\n" + secret("two"))) == seen[1]
    files.remove("a")
    seen.append(version(files.show(a=secret("three"))))
    assert len(set(seen)) == 3
    assert not any("one" in v or "two" in v for v in seen)


def test_labels_of_namespaces() -> None:
    files = Files()
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: platform, labels: {trust: %s}}\n"
    assert files.show(a=text % "high").labels == {"platform": {"trust": "high"}}
    assert files.show(a=text % "low").labels == {"platform": {"trust": "low"}}
    assert files.show(a="").labels == {}
