"""What workers tell each other of servers that are to stand still."""

from itertools import permutations

from mcp_operator_proxy.services.wishes import Wish, Wishes


def test_the_newest_wish_counts_in_whatever_order_it_is_heard() -> None:
    first = Wishes().wishing("ns/a", stopped=True, by="x")
    second = first.wishing("ns/a", stopped=False, by="w").wishing("ns/b", stopped=True, by="w")
    other = Wishes().wishing("ns/c", stopped=True, by="y")
    for one, two, three in permutations((first, second, other)):
        assert one.merged(two).merged(three).stopped == {"ns/b", "ns/c"}


def test_wishes_at_one_time_are_decided_the_same_everywhere() -> None:
    stop = Wishes(servers={"ns/a": Wish(tick=3, by="x", stopped=True)})
    start = Wishes(servers={"ns/a": Wish(tick=3, by="y", stopped=False)})
    assert stop.merged(start) == start.merged(stop) == start
    assert Wishes.model_validate_json(start.model_dump_json()) == start
