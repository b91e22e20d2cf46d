"""The documents as tests see them: their fenced blocks, and what is said of a block in the comment before it.

<!-- test: NAME -->     the next block is a step of the scenario NAME, or of the sort NAME (see the names below)
<!-- file: NAME -->     the next block is the content of the file NAME, which the page's commands read
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").glob("*/*.md")]))

HERE: Final = frozenset({"desktop", "local", "proxy", "rest", "without-a-cluster"})
"""Scenarios that need no cluster: tests/unit/docs/test_running.py."""
CLUSTER: Final = frozenset(
    {
        "cluster-desktop",
        "cluster-egress",
        "cluster-gitops",
        "cluster-install",
        "cluster-kind",
        "cluster-look",
        "cluster-pinning",
        "cluster-readme",
        "cluster-scale-out",
        "cluster-uninstall",
        "cluster-user-oauth",
    }
)
"""Scenarios of a cluster: tests/cluster/test_docs.py runs them against a real API server."""
RUNBOOK: Final = "runbook"
"""Looks at a cluster where something is wrong: tests/cluster/test_runbooks.py runs what needs no pod there."""
SHELL: Final = frozenset({"sh", "bash", "console"})

_FENCE: Final = re.compile(
    r"(?:^ *<!-- (?P<what>test|file): (?P<name>[^>]*?) -->\n)?"
    r"^(?P<indent> *)(?P<mark>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=mark) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `test` and `file` are what the comment before it says; `line` is that of the fence's text."""

    page: str
    line: int
    language: str
    text: str
    test: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> str:
        """The commands of a shell block: all of it, or of a console the lines after a `$`."""
        if self.language != "console":
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))


def name(page: Path) -> str:
    """Path of a page from the top of the repository."""
    return str(page.relative_to(ROOT))


def read(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in its order."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        indent = len(found["indent"])
        body = "".join(line[indent:] if line.strip() else line for line in found["text"].splitlines(keepends=True))
        said = {found["what"]: found["name"].strip()} if found["what"] else {}
        yield Block(name(page), text.count("\n", 0, found.start("text")) + 1, found["language"].strip(), body, **said)


BLOCKS: Final = tuple(block for page in PAGES for block in read(page))


def scenario(test: str, page: str = "") -> list[Block]:
    """The steps of a scenario, in the order of the pages; or those that stand on one page."""
    return [block for block in BLOCKS if block.test == test and page in ("", block.page)]


def invocations(block: Block) -> list[list[str]]:
    """The words of each simple command of a shell block: comments, here-documents, redirections and joints left out."""
    text = re.sub(r"<<'?EOF'?\n.*?^EOF$", "", block.commands, flags=re.MULTILINE | re.DOTALL)
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word and not set(word) - set("|&;()<>"):
                found.append(words)
                words = []
                if ">" in word or "<" in word:
                    next(lexer, None)
            else:
                words.append(word)
        found.append(words)
    return [words for words in found if words]
