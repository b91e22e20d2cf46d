import pytest

from mcp_operator_proxy.backends.retry import pause, spread
from mcp_operator_proxy.config import Retry


@pytest.mark.parametrize(
    ("attempts", "backoff", "pauses"),
    [
        (3, 0.5, [0.5, 1, 5, 5, 5]),
        (5, 0.5, [0.5, 1, 2, 4, 5]),
        (1, 0.5, [5, 5]),
        (3, 20, [20, 40, 20]),
        (9, 10, [10, 20, 40, 60, 60]),
    ],
)
def test_pauses_grow_and_settle(attempts: int, backoff: float, pauses: list[float]) -> None:
    retry = Retry(attempts=attempts, backoff_seconds=backoff)
    assert [pause(retry, n, random_share=lambda: 1.0) for n in range(1, len(pauses) + 1)] == pauses


def test_a_fifth_at_most_is_left_to_chance() -> None:
    assert pause(Retry(), 1, random_share=lambda: 0.0) == pytest.approx(0.4)
    assert len({pause(Retry(), 1) for _ in range(20)}) > 1


def test_what_was_begun_together_is_spread() -> None:
    assert spread(10, random_share=lambda: 0.0) == pytest.approx(8)
    assert spread(10, random_share=lambda: 1.0) == pytest.approx(10)
    assert len({spread(30) for _ in range(20)}) > 1
