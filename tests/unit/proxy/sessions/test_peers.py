"""Who the peers are, and which of them takes a session."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.sessions import peers as module
from mcp_operator_proxy.sessions.peers import PeerName, Peers, join, ranked
from support.waiting import Eventually

ADDRESSES = st.lists(
    st.from_regex(r"10\.0\.[0-9]\.[0-9]:808[0-9]", fullmatch=True), min_size=2, max_size=8, unique=True
)


@given(st.text(max_size=40), ADDRESSES, st.randoms())
def test_all_rank_alike_whatever_order_they_know_each_other_in(
    session: str, addresses: list[str], random: object
) -> None:
    shuffled = list(addresses)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert ranked(session, shuffled) == ranked(session, addresses)


@given(ADDRESSES)
def test_only_the_sessions_of_one_that_is_gone_move(addresses: list[str]) -> None:
    gone = addresses[0]
    for number in range(50):
        before = ranked(str(number), addresses)[0]
        after = ranked(str(number), addresses[1:])[0]
        assert before in {after, gone}


def test_sessions_spread() -> None:
    addresses = [f"10.0.0.{n}:8081" for n in range(4)]
    counts = [sum(ranked(str(number), addresses)[0] == each for number in range(1000)) for each in addresses]

    assert min(counts) > 150


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("a.ns.svc:8081", (PeerName("a.ns.svc", 8081),)),
        (" a:1 , [::1]:2,", (PeerName("a", 1), PeerName("::1", 2))),
    ],
)
def test_names_are_read(text: str, found: tuple[PeerName, ...]) -> None:
    assert PeerName.parse(text) == found


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:x", "a:0", "a:65536"])
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not name:port"):
        PeerName.parse(text)


def test_addresses_are_written_as_urls_want_them() -> None:
    assert [join("10.0.0.1", 1), join("fd00::1", 2), join("name", 3)] == ["10.0.0.1:1", "[fd00::1]:2", "name:3"]


async def test_a_name_stands_for_all_workers_behind_it(eventually: Eventually) -> None:
    peers = Peers("127.0.0.1:9", names=(PeerName("localhost", 7000),), workers=2)
    following = asyncio.create_task(peers.follow())
    try:
        await eventually(lambda: len(peers.live()) > 1)
        assert {"127.0.0.1:9", "127.0.0.1:7000", "127.0.0.1:7001"} <= peers.live()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def test_who_does_not_answer_is_shunned_for_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    peers = Peers("own:1", siblings=("own:1", "a:1"))
    pauses = []
    for _ in range(6):
        peers.shun("a:1")
        assert peers.live() == {"own:1"}
        began = now[0]
        while peers.shuns("a:1"):
            now[0] += 1.0
        pauses.append(now[0] - began)

    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    peers.answered("a:1")
    assert peers.live() == {"own:1", "a:1"}
