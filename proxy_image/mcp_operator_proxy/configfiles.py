"""A configuration as the files of a volume: part of the contract with the operator. Pure; both sides use it.

    up to PART_BYTES                config.json
    compressed up to PART_BYTES     config.json.gz
    beyond                          config.json.gz.index, config.json.gz.REVISION.0, config.json.gz.REVISION.1, …

Each list of files is one source of the volume (a ConfigMap). Sources are written one after the other, so what stands in a
folder may be of two configurations: a piece carries its revision in its name, and the index, which is in the first source
and written last, names the revision and the number of pieces. A set of which a piece is missing is no configuration yet.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from mcp_operator_proxy.config import CONFIG_FILE

PART_BYTES: Final = 900 * 1024
"""Of one source. A ConfigMap holds 1 MiB, and etcd takes requests of 1.5 MiB."""
MAX_PARTS: Final = 4
MAX_CONFIG: Final = 64 * 1024 * 1024
"""Bytes of the JSON."""
COMPRESSED_FILE: Final = f"{CONFIG_FILE}.gz"
INDEX_FILE: Final = f"{COMPRESSED_FILE}.index"
_REVISION: Final = re.compile(r"[0-9a-z]{1,64}")
_LEVEL: Final = 6

Read = Callable[[str, int], bytes]
"""The content of a file of at most so many bytes. Raises FileNotFoundError."""


class ConfigTooLarge(ValueError):
    """No volume of ours can hold it. The message says how large it is, and what the limit is."""


class Incomplete(Exception):
    """Pieces of it are missing: its sources arrive one after the other."""

    def __init__(self, message: str, revision: str) -> None:
        super().__init__(message)
        self.revision = revision


class Damaged(Exception):
    """The files are not what they are named. The message holds nothing of their content."""


def pack(text: str, revision: str) -> tuple[Mapping[str, bytes], ...]:
    """The files of a configuration, by the source that holds them; the first has what all the others hang on.

    Equal text gives equal files, within one version of zlib. Raises ConfigTooLarge.
    """
    plain = text.encode()
    if len(plain) <= PART_BYTES:
        return ({CONFIG_FILE: plain},)
    if len(plain) > MAX_CONFIG:
        raise ConfigTooLarge(f"the configuration has {_mib(len(plain))}; the limit is {_mib(MAX_CONFIG)}")
    packed = _compressed(plain)
    if len(packed) <= PART_BYTES:
        return ({COMPRESSED_FILE: packed},)
    if len(packed) > PART_BYTES * MAX_PARTS:
        raise ConfigTooLarge(
            f"the configuration has {_mib(len(plain))}, compressed {_mib(len(packed))}; "
            f"the limit is {_mib(PART_BYTES * MAX_PARTS)} compressed"
        )
    pieces = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    # The index needs room beside the first piece; PART_BYTES leaves more than it will ever take.
    index = json.dumps({"revision": revision, "parts": len(pieces)}, separators=(",", ":")).encode()
    files: list[dict[str, bytes]] = [{_piece(revision, number): piece} for number, piece in enumerate(pieces)]
    files[0] = {INDEX_FILE: index, **files[0]}
    return tuple(files)


def unpack(read: Read) -> bytes:
    """The JSON text that the files of a folder hold.

    Raises:
        FileNotFoundError: there is none of them.
        Incomplete: pieces are missing.
        Damaged: something is not what it should be.
        OSError, and whatever else `read` raises.
    """
    try:
        index = read(INDEX_FILE, 4096)
    except FileNotFoundError:
        try:
            return _unzipped(read(COMPRESSED_FILE, PART_BYTES * MAX_PARTS))
        except FileNotFoundError:
            return read(CONFIG_FILE, MAX_CONFIG)
    revision, parts = _read_index(index)
    pieces = []
    for number in range(parts):
        try:
            pieces.append(read(_piece(revision, number), PART_BYTES))
        except FileNotFoundError:
            raise Incomplete(
                f"piece {number + 1} of {parts} of revision {revision} has not arrived yet", revision
            ) from None
    return _unzipped(b"".join(pieces))


def _piece(revision: str, number: int) -> str:
    return f"{COMPRESSED_FILE}.{revision}.{number}"


def _read_index(text: bytes) -> tuple[str, int]:
    try:
        index = json.loads(text)
        revision, parts = index["revision"], index["parts"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Damaged(f"{INDEX_FILE} is no index: it names revision and parts") from None
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise Damaged(f"{INDEX_FILE}: revision must be 1 to 64 lower-case letters and digits")
    if not isinstance(parts, int) or isinstance(parts, bool) or not 1 <= parts <= MAX_PARTS:
        raise Damaged(f"{INDEX_FILE}: parts must be a number from 1 to {MAX_PARTS}")
    return revision, parts


@lru_cache(maxsize=4)
def _compressed(plain: bytes) -> bytes:
    """Kept, as a pass over an unchanged world asks again."""
    return gzip.compress(plain, _LEVEL, mtime=0)


@lru_cache(maxsize=1)
def _unzipped(packed: bytes) -> bytes:
    """Kept, as the folder is read again and again."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(packed, MAX_CONFIG)
    except zlib.error:
        raise Damaged(f"{COMPRESSED_FILE} is not gzip, or damaged") from None
    if not inflate.eof:
        full = len(plain) >= MAX_CONFIG
        raise Damaged(
            f"{COMPRESSED_FILE} holds more than {_mib(MAX_CONFIG)}" if full else f"{COMPRESSED_FILE} is cut off"
        )
    return plain


def _mib(size: int) -> str:
    return f"{size / (1024 * 1024):.1f} MiB"
