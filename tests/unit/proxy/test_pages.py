import pytest

from mcp_operator_proxy.pages import BadCursor, page

ENTRIES = {name: name.upper() for name in ("a", "b", "c", "d", "e")}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_the_pages_are_the_list(size: int) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        entries, cursor = page(ENTRIES, cursor, size)
        assert 1 <= len(entries) <= size
        found += entries
        if cursor is None:
            break
    assert found == list(ENTRIES.values())


@pytest.mark.parametrize("size", [None, 5, 9])
def test_one_page(size: int | None) -> None:
    assert page(ENTRIES, None, size) == (list(ENTRIES.values()), None)
    assert page({}, None, size) == ([], None)


def test_a_cursor_outlives_changes_elsewhere() -> None:
    _, cursor = page(ENTRIES, None, 2)
    changed = {"b": "B", "new": "NEW", "d": "D"}
    assert page(changed, cursor, 2) == (["NEW", "D"], None)


def test_a_cursor_whose_entry_has_gone_is_refused() -> None:
    _, cursor = page(ENTRIES, None, 2)
    with pytest.raises(BadCursor, match="changed"):
        page({name: name for name in ("a", "c", "d")}, cursor, 2)


@pytest.mark.parametrize("cursor", ["", "a", "MQ", "MWE=", "é", "!!", "x" * 5000, "MXo", "M!WE", "MWF="])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    if cursor == "MWE=":  # padding does no harm
        assert page(ENTRIES, cursor, 2)[0] == ["B", "C"]
        return
    with pytest.raises(BadCursor):
        page(ENTRIES, cursor, 2)


def test_a_cursor_is_good_when_pages_have_been_turned_off() -> None:
    _, cursor = page(ENTRIES, None, 2)
    assert page(ENTRIES, cursor, None) == (["C", "D", "E"], None)


def test_names_of_any_kind() -> None:
    uris = {f"data://ü/{n}?x=%20#\n": n for n in range(3)}
    _, cursor = page(uris, None, 1)
    assert cursor is not None
    assert cursor.isascii()
    assert page(uris, cursor, 1)[0] == [1]
