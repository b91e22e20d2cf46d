"""Text of a server for people to judge: nothing in it is invisible, reorders what stands around it, or ends a line. Pure."""

import unicodedata
from typing import Final

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories: controls, formats (bidirectional marks, zero-width characters, tags), surrogates, private, unassigned."""
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters, marks and symbols that show nothing (Unicode, Default_Ignorable_Code_Point; and the empty Braille pattern)."""


def visible(text: str, *, foreign: bool = False) -> str:
    """The text in quotes, what can't be seen as `\\u{202e}`. With `foreign` everything that is not ASCII, as what looks alike
    may differ."""
    return '"' + "".join(_shown(character, foreign=foreign) for character in text) + '"'


def is_hidden(character: str) -> bool:
    """Whether a reader does not see it, or can't tell it from a space."""
    if character.isascii():
        return not character.isprintable()
    category = unicodedata.category(character)
    return category in _INVISIBLE or category == "Zs" or character in _BLANK or _selects_variation(character)


def _shown(character: str, *, foreign: bool) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if is_hidden(character) or (foreign and not character.isascii()):
        return f"\\u{{{ord(character):x}}}"
    return character


def _selects_variation(character: str) -> bool:
    """Variation selectors: invisible, and able to carry a byte each."""
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
