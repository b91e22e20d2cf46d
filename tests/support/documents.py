"""The documents as tests see them: their fenced blocks, and what is said of a block in the comment before it.

<!-- test: NAME -->     the next block is a step of the scenario NAME, or of the sort NAME (see the names below)
<!-- file: NAME -->     the next block is the content of the file NAME, which the page's commands read
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").glob("*/*.md")]))

HERE: Final = frozenset({"desktop", "local", "proxy", "rest", "without-a-cluster"})
"""Scenarios that need no cluster: tests/unit/docs/test_running.py."""
CLUSTER: Final = frozenset(
    {
        "cluster-chart",
        "cluster-desktop",
        "cluster-egress",
        "cluster-gitops",
        "cluster-image",
        "cluster-install",
        "cluster-kind",
        "cluster-look",
        "cluster-monitoring",
        "cluster-pinning",
        "cluster-readme",
        "cluster-scale-out",
        "cluster-uninstall",
        "cluster-user-oauth",
    }
)
"""Scenarios of a cluster: tests/e2e/test_docs.py runs them on a node, tests/cluster/test_docs.py without pods on an API server."""
RUNBOOK: Final = "runbook"
"""Looks at a cluster where something is wrong: run by tests/e2e/test_docs.py, and without pods by tests/cluster/test_runbooks.py."""
NOT_RUN: Final[Mapping[str, str]] = {
    r"make ": "a target is run by whoever builds the project; that it exists is tested in test_documents.py",
    r"hack/(cluster|image) ": "the scripts that the e2e tests themselves are started with",
    r"docker ": "there is no container engine on the project's machines",
    r"kind ": "kind needs a container engine",
    r"flux ": "Flux is not installed there; its manifests are tested in tests/unit/gitops",
    r"argocd ": "Argo CD is not installed there; its health scripts run in tests/cluster/test_gitops.py",
    r"kubectl (-n \S+ )?top ": "metrics-server is not installed there",
}
"""Commands (regular expressions on their beginnings) that no test runs, and why."""
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

_SAID: Final = re.compile(r"`((?:mcp-operator(?:-proxy)?|helm|kubectl) [^`\n]+)`")
_FORM: Final = re.compile(r"…|\b[A-Z]{4,}\b|\bNAME\b")


def prose(page: Path) -> str:
    """The text of a page without its blocks."""
    return re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def said(page: Path) -> list[str]:
    """Commands between backticks in the text of a page, but those that are forms to fill in."""
    return [text for text in _SAID.findall(prose(page).replace(r"\|", "|")) if _FORM.search(text) is None]


SAID: Final = tuple(dict.fromkeys(text for page in PAGES for text in said(page) if len(text.split()) > 2))
"""Those of all pages that are whole: more than a program and what it is asked for."""


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
