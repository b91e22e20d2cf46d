"""How deeply JSON is nested, found in its bytes before anything parses them. Pure, and linear for whatever comes.

Text within strings does not count. Of a body that is no JSON the answer may be wrong beyond its first error, where parsers stop.
"""

from itertools import accumulate
from typing import Final

_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEP: Final = [1 if byte in b"[{" else -1 for byte in range(256)]
_CHUNK: Final = 65_536


def deeper(body: bytes, most: int) -> bool:
    """Whether arrays and objects stand within each other more than `most` deep."""
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _OTHERS)  # a backslash stands within strings alone
    depth = 0
    for start in range(0, len(brackets), _CHUNK):
        steps = map(_STEP.__getitem__, brackets[start : start + _CHUNK])
        depths = list(accumulate(steps, initial=depth))
        if max(depths) > most:
            return True
        depth = depths[-1]
    return False
