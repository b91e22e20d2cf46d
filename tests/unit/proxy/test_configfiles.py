"""A configuration as files: plain, compressed, cut in pieces; and what is no configuration.

sizes at the limits · equal text, equal files · pieces of two revisions never meet · missing, damaged, a bomb · too large
"""

import base64
import gzip
import json
import random
from collections.abc import Mapping

import pytest

from mcp_operator_proxy import configfiles
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.configfiles import (
    COMPRESSED_FILE,
    INDEX_FILE,
    MAX_PARTS,
    PART_BYTES,
    ConfigTooLarge,
    Damaged,
    Incomplete,
    pack,
    unpack,
)

KUBERNETES_LIMIT = 1024 * 1024
"""Of the data of one ConfigMap (k8s.io/kubernetes, MaxSecretSize)."""


def noise(size: int, seed: int = 0) -> str:
    """Text that hardly compresses."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


def joined(sources: tuple[Mapping[str, bytes], ...]) -> dict[str, bytes]:
    return {file: content for files in sources for file, content in files.items()}


def read_from(files: Mapping[str, bytes]) -> bytes:
    def read(name: str, limit: int) -> bytes:
        if name not in files:
            raise FileNotFoundError(name)
        return files[name][: limit + 1]

    return unpack(read)


def outcome(files: Mapping[str, bytes]) -> bytes | str:
    """What is read, or the revision that is not whole."""
    try:
        return read_from(files)
    except Incomplete as error:
        return error.revision


@pytest.mark.parametrize(
    ("text", "sources", "first"),
    [
        ("{}", 1, "config.json"),
        ("a" * PART_BYTES, 1, "config.json"),
        ("a" * (PART_BYTES + 1), 1, COMPRESSED_FILE),
        (noise(PART_BYTES + 4), 1, COMPRESSED_FILE),
        (noise(2 * PART_BYTES), 2, INDEX_FILE),
        (noise(4 * PART_BYTES), 4, INDEX_FILE),
    ],
    ids=["small", "just plain", "just compressed", "compressed", "two", "four"],
)
def test_there_and_back(text: str, sources: int, first: str) -> None:
    packed = pack(text, "abc123")
    assert len(packed) == sources
    assert next(iter(packed[0])) == first
    assert all(sum(map(len, files.values())) < KUBERNETES_LIMIT for files in packed)
    assert read_from(joined(packed)) == text.encode()
    assert pack(text, "abc123") == packed


def test_ten_thousand_overrides() -> None:
    """As a proxy would have them: with words they fit into one ConfigMap, with noise they take several."""
    for describe, expected in (
        (lambda n: f"Read the page number {n} of the handbook. " * 8, 1),
        (lambda n: noise(160, n), 2),
    ):
        overrides = [{"name": f"tool_{n}", "description": describe(n)} for n in range(10_000)]
        server = {"server": "ns/a", "prefix": "a", "tools": {"overrides": overrides}}
        route = {"name": "McpRoute/ns/r", "path": "/mcp", "servers": [server]}
        body = {"revision": "abc", "servers": [{"id": "ns/a", "url": "http://a/"}], "routes": [route]}
        text = json.dumps(body)
        packed = pack(text, "abc")
        assert (len(text) > KUBERNETES_LIMIT, len(packed)) == (True, expected)
        config = ProxyConfig.model_validate_json(read_from(joined(packed)))
        assert len(config.routes[0].servers[0].tools.overrides) == 10_000


def test_pieces_of_two_revisions_never_meet() -> None:
    """Whichever of its sources have been written already, there is the old one, the new one, or none."""
    old, new = pack(noise(2 * PART_BYTES, 1), "one"), pack(noise(3 * PART_BYTES, 2), "two")
    texts = {read_from(joined(old)), read_from(joined(new))}
    for written in range(1 << len(new)):
        sources = [
            new[number] if written >> number & 1 else old[number] if number < len(old) else {}
            for number in range(len(new))
        ]
        assert outcome(joined(tuple(sources))) in {*texts, "two" if written & 1 else "one"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({COMPRESSED_FILE: b"nonsense"}, "not gzip"),
        ({COMPRESSED_FILE: gzip.compress(b"{}" * 1000)[:-9]}, "cut off"),
        ({COMPRESSED_FILE: gzip.compress(b"{}")[:-5] + b"\0" * 5}, "damaged"),
        ({INDEX_FILE: b"nonsense"}, "is no index"),
        ({INDEX_FILE: b"[]"}, "is no index"),
        ({INDEX_FILE: b"[" * 5000}, "is no index"),
        ({INDEX_FILE: b'{"revision": "../x", "parts": 1}'}, "revision must be"),
        ({INDEX_FILE: b'{"revision": "a", "parts": 0}'}, "parts must be"),
        ({INDEX_FILE: b'{"revision": "a", "parts": 1000000}'}, "parts must be"),
        ({INDEX_FILE: b'{"revision": "a", "parts": true}'}, "parts must be"),
        ({INDEX_FILE: b'{"revision": "a", "parts": 1}', f"{COMPRESSED_FILE}.a.0": b"??"}, "not gzip"),
    ],
    ids=range(11),
)
def test_what_is_damaged(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(Damaged, match=message):
        read_from(files)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfiles, "MAX_CONFIG", 10_000)
    with pytest.raises(Damaged, match="holds more than"):
        read_from({COMPRESSED_FILE: gzip.compress(b" " * 1_000_000)})


def test_there_is_nothing() -> None:
    with pytest.raises(FileNotFoundError):
        read_from({})


def test_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigTooLarge, match=r"compressed .* MiB; the limit is 3\.5 MiB compressed"):
        pack(noise(6 * PART_BYTES), "a")
    monkeypatch.setattr(configfiles, "MAX_CONFIG", 2 * 1024 * 1024)
    with pytest.raises(ConfigTooLarge, match=r"has 2\.9 MiB; the limit is 2\.0 MiB"):
        pack("a" * 3_000_000, "a")
    assert MAX_PARTS * PART_BYTES < 4 * KUBERNETES_LIMIT
