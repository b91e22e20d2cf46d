"""A tool as the registry shows it and as search reads it. Pure."""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

DEEPEST: Final = 6
"""Levels of a schema that are read."""
MOST_WORDS: Final = 400
"""Of one tool: a description of pages must not outweigh all others."""
_RUN: Final = re.compile(r"[^\W\d_]+|\d+")
_CASE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
STOP: Final = frozenset(
    "a an and are as at be by can could do does for from has have how i if in into is it its me my of on or our please that the"  # noqa: SIM905
    " their then there this to us was we which will with would you your".split()
)


@dataclass(frozen=True, slots=True)
class ToolDocument:
    """One tool. `id` is `server.tool`, as REST names it."""

    id: str
    server: str
    name: str
    """As clients see it."""
    description: str = ""
    title: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """JSON Schema of the arguments."""
    category: str = ""
    available: bool = True

    def text(self) -> str:
        """What an embedder reads. Arguments are read only where nothing else tells what the tool is for: they blur the rest."""
        parts = [" ".join(words(self.name)), self.title, self.description, self.category]
        if not self.description:
            parts += [f"{name} {about}" for name, about in arguments(self.parameters)]
        return ". ".join(part for part in parts if part)

    def terms(self) -> list[str]:
        """What BM25 counts: a word of the name or title twice."""
        names = [*stems(self.name), *stems(self.title)] * 2
        about = [*stems(self.description), *stems(self.category), *stems(self.server)]
        for name, text in arguments(self.parameters):
            about += [*stems(name), *stems(text)]
        return [*names, *about[:MOST_WORDS]]


def words(text: str) -> list[str]:
    """The words of an identifier or a sentence in lower case: `createPullRequest`, `create_pull_request` and prose alike."""
    return [word.lower() for run in _RUN.findall(text) for word in _CASE.split(run)]


def stems(text: str) -> list[str]:
    """Stems of the words that mean something."""
    return [_stem(word) for word in words(text) if word not in STOP]


def arguments(schema: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    """Names and descriptions of a schema's properties, nested ones too."""
    if depth >= DEEPEST:
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for name, inner in properties.items():
            if isinstance(inner, Mapping):
                described = inner.get("description")
                yield str(name), described if isinstance(described, str) else ""
                yield from arguments(inner, depth + 1)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield from arguments(items, depth + 1)


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer  # noqa: PLC0415 - only where search is on

    return snowballstemmer.stemmer("english")


_STEMMING: Final = threading.Lock()


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    with _STEMMING:  # a stemmer has a state, and indexes are made in threads
        return str(_stemmer().stemWord(word))
