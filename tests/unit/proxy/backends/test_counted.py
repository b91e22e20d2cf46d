"""What the lane knows of how a server is reached is renewed whenever that changes."""

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.counted import Counted


class Thing:
    changes = 0
    name = Counted[str]()
    other = Counted[int | None]()

    def __init__(self) -> None:
        self.name = "a"
        self.other = None


def test_each_assignment_counts_and_each_object_has_its_own_values() -> None:
    one, two = Thing(), Thing()
    assert (one.name, one.other, one.changes) == ("a", None, 2)
    one.name, one.other = "b", 1
    assert (one.name, one.other, one.changes) == ("b", 1, 4)
    assert (two.name, two.other, two.changes) == ("a", None, 2)


def test_a_backend_counts_what_the_lane_goes_by() -> None:
    counted = {name for name, value in vars(Backend).items() if isinstance(value, Counted)}
    assert counted == {"resolved", "_uds", "_era", "_kind"}
