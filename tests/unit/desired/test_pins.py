"""The ConfigMap beside a server's record: what it holds comes out again, it fits, and nonsense is nothing."""

import base64
import gzip
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator.api.resources import McpServer
from mcp_operator.compile.pins import Record
from mcp_operator.desired.pins import FILE, ROOM, Kept, kept_in, pins_object
from mcp_operator_proxy.pinning.definition import canonical, digest_of
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def far() -> McpServer:
    return models.server(resources.remote("far", "http://far/mcp", pinning="Warn"))


def test_what_it_holds_comes_out_again_and_twice_is_the_same() -> None:
    texts = [canonical({"name": name, "description": "\u202e \ud800 é", "inputSchema": {"x": 1.0}}) for name in "ab"]
    record = Record(NOW, {"a": digest_of(texts[0]), "b": digest_of(texts[1])})
    body = pins_object(far(), record, texts)
    assert kept_in(body) == Kept(record, {digest_of(text): text for text in texts})
    assert pins_object(far(), record, reversed(texts)) == body
    assert body["metadata"]["name"] == "far-pins"


def test_of_more_than_fits_the_shortest_are_kept() -> None:
    source = random.Random(1)
    texts = [canonical({"name": f"t{i}", "description": source.randbytes(40_000).hex()}) for i in range(30)]
    texts.append(canonical({"name": "small"}))
    body = pins_object(far(), Record(NOW, {}), texts)
    assert len(base64.b64decode(body["binaryData"][FILE])) <= ROOM
    kept = kept_in(body).definitions
    assert 5 < len(kept) < len(texts)
    assert digest_of(texts[-1]) in kept


def _packed(held: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(held).encode(), mtime=0)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        base64.b64encode(b"nonsense").decode(),
        _packed([]),
        _packed({"definitions": []}),
        _packed({"definitions": 1, "tools": {}, "pinnedAt": "2026-01-02T00:00:00+00:00"}),
        _packed({"definitions": [], "tools": [], "pinnedAt": "2026-01-02T00:00:00+00:00"}),
        _packed({"definitions": [], "tools": {}, "pinnedAt": "2026-01-02T00:00:00"}),
    ],
)
def test_nonsense_is_nothing(text: str) -> None:
    assert kept_in({"binaryData": {FILE: text}}) == kept_in({}) == Kept()


def test_a_definition_counts_only_under_its_own_digest() -> None:
    body = {
        "binaryData": {
            FILE: _packed(
                {
                    "pinnedAt": NOW.isoformat(),
                    "tools": {"a": digest_of(canonical({"name": "a"}))},
                    "definitions": [{"name": "a", "description": "forged"}],
                }
            )
        }
    }
    forged = canonical({"name": "a", "description": "forged"})
    assert kept_in(body).definitions == {digest_of(forged): forged}
