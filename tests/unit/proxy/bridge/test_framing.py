"""Lines out of a stream, however it is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.bridge.framing import LineSplitter, Oversize


def lines_of(chunks: list[bytes], limit: int = 100) -> list[bytes | Oversize]:
    splitter = LineSplitter(limit)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


def test_lines_are_cut_and_blank_ones_dropped() -> None:
    assert lines_of([b"a\r\n\n  \nb", b"c\n\nlast"]) == [b"a", b"bc", b"last"]


def test_a_long_line_is_skipped_and_the_next_one_is_whole() -> None:
    assert lines_of([b"x" * 60, b"x" * 60, b"x" * 60 + b"\nnext\n"], limit=100) == [Oversize(180), b"next"]


def test_the_limit_itself_is_no_excess() -> None:
    assert lines_of([b"x" * 100 + b"\n"], limit=100) == [b"x" * 100]


def test_no_more_than_the_limit_is_kept() -> None:
    splitter = LineSplitter(1000)
    for _ in range(100):
        splitter.feed(b"x" * 999)
    assert sum(map(len, splitter._parts)) <= 1000


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10), st.integers(1, 40))
def test_where_the_stream_is_cut_changes_nothing(data: bytes, cuts: list[int], limit: int) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert lines_of(chunks, limit) == lines_of([data], limit)


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b.strip() and b"\n" not in b and b"\r" not in b)))
def test_lines_come_out_as_they_went_in(lines: list[bytes]) -> None:
    assert lines_of([line + b"\n" for line in lines]) == lines
