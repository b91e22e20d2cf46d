"""What a watch stream owes: every way in and out of a debt, with a clock of the test's own."""

import pytest

from mcp_operator.engine.streams import Stream, Streams

THINGS, OTHERS = Stream("Thing"), Stream("Other", "team-a")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def streams(clock: Clock) -> Streams:
    return Streams([THINGS, OTHERS], clock)


def test_a_new_stream_owes_nothing_and_knows_no_version(streams: Streams, clock: Clock) -> None:
    clock.now += 1000
    assert streams.position(THINGS) is None
    assert streams.debt(THINGS) is None
    assert streams.stuck(1) == []
    assert streams.ages() == {"Thing": 1000, "Other": 1000}


def test_what_it_tells_makes_it_fresh(streams: Streams, clock: Clock) -> None:
    clock.now += 5
    streams.told(THINGS, "7")
    assert (streams.position(THINGS), streams.age(THINGS)) == ("7", 0)
    streams.told(THINGS, "3")
    assert streams.position(THINGS) == "7", "a listing is not in the order of versions"


def test_a_debt_grows_until_it_is_paid(streams: Streams, clock: Clock) -> None:
    streams.told(THINGS, "7")
    streams.owes(THINGS, "9")
    clock.now += 10
    streams.told(THINGS, "8")
    assert streams.debt(THINGS) == 10, "it brought something, and not that"
    assert streams.stuck(10) == [THINGS]
    assert streams.age(THINGS) == 10
    streams.told(THINGS, "9")
    assert (streams.debt(THINGS), streams.age(THINGS)) == (None, 0)


def test_a_later_debt_does_not_hide_the_older(streams: Streams, clock: Clock) -> None:
    streams.owes(THINGS, "9")
    clock.now += 10
    streams.owes(THINGS, "20")
    assert streams.debt(THINGS) == 10
    streams.told(THINGS, "9")
    assert streams.debt(THINGS) is None, "it moves: the next look tells of the rest"


@pytest.mark.parametrize("version", ["7", "3", None, "opaque", ""])
def test_what_was_told_or_cannot_be_compared_is_no_debt(streams: Streams, version: str | None) -> None:
    streams.told(THINGS, "7")
    streams.owes(THINGS, version)
    assert streams.debt(THINGS) is None


def test_the_time_in_which_nobody_could_be_asked_does_not_count(streams: Streams, clock: Clock) -> None:
    streams.owes(THINGS, "9")
    clock.now += 500
    streams.excused(THINGS)
    assert streams.debt(THINGS) == 0
    clock.now += 3
    assert streams.debt(THINGS) == 3


def test_nothing_is_missing(streams: Streams, clock: Clock) -> None:
    streams.told(THINGS, "7")
    streams.owes(THINGS, "9")
    clock.now += 5
    streams.confirmed(THINGS, "12")
    assert (streams.debt(THINGS), streams.position(THINGS), streams.age(THINGS)) == (None, "12", 0)
    streams.confirmed(THINGS, None)
    assert streams.position(THINGS) == "12"


def test_a_list_is_where_a_silent_stream_begins(streams: Streams) -> None:
    streams.began(THINGS, "50")
    assert streams.position(THINGS) == "50"
    streams.began(THINGS, "70")
    assert streams.position(THINGS) == "50", "the stream may owe what is between"


def test_streams_are_known_by_kind_and_namespace(streams: Streams) -> None:
    for stream in (Stream("Thing", "team-a"), Stream("Other"), Stream("Unknown")):
        streams.told(stream, "7")
        streams.owes(stream, "8")
        streams.began(stream, "9")
    assert [streams.position(stream) for stream in streams] == [None, None]
    assert (str(THINGS), str(OTHERS)) == ("Thing", "Other of namespace team-a")
