"""The documentation as a site: built from the same pages that are read in the repository, with nothing from another host."""

import logging
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import markdown
import pytest
from markdown_it import MarkdownIt
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig

import docs_site
from docs_site import site_link

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
COMPARED = {"ul", "ol", "li", "table", "tr", "pre", "h1", "h2", "h3", "h4", "strong", "a", "img"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a warning of mkdocs ends it."""
    folder = tmp_path_factory.mktemp("site")
    logger = logging.getLogger("mkdocs")
    warnings = _Warnings()
    logger.addHandler(warnings)
    try:
        build(_config(folder))
    finally:
        logger.removeHandler(warnings)
    assert warnings.said == []
    return folder


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _config(folder: Path) -> MkDocsConfig:
    return load_config(str(ROOT / "hack" / "mkdocs.yml"), site_dir=str(folder), strict=True)


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    loaded = [
        (page.name, tag, value)
        for page in site.rglob("*.html")
        for tag, attributes in _Tags(page.read_text()).found
        if tag in {"script", "link", "img", "source", "iframe", "object", "video"}
        for name in ("src", "srcset", "href")
        if (value := attributes.get(name)) and re.match(r"(https?:)?//", value)
    ]
    assert loaded == []
    styles = "\n".join(sheet.read_text() for sheet in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?https?://[^)]*", styles) == []


def test_the_readme_is_the_first_page(site: Path) -> None:
    first = (site / "index.html").read_text()
    assert "<h1" in first
    links = [attributes.get("href") or "" for tag, attributes in _Tags(first).found if tag == "a"]
    assert "install.html" in links
    assert "files/examples.html" in links


def test_files_outside_of_docs_are_pages_of_the_site(site: Path) -> None:
    shown = (site / "files" / "charts" / "mcp-operator" / "values.yaml.html").read_text()
    assert "defaultProxy" in shown


def test_every_page_is_in_the_site(site: Path) -> None:
    missing = [
        str(page) for page in PAGES[1:] if not (site / page.relative_to(ROOT / "docs")).with_suffix(".html").exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_reads_the_same_in_the_repository_and_on_the_site(page: Path) -> None:
    """CommonMark with tables, as code hosts render it, and Python-Markdown, as the site does, differ in lists and tables."""
    text = page.read_text()
    there = MarkdownIt("commonmark").enable("table").render(text)
    here = markdown.markdown(text, extensions=["tables", "pymdownx.superfences", "admonition"])
    assert _structure(here) == _structure(there)


def _structure(text: str) -> Counter[str]:
    return Counter(tag for tag, _ in _Tags(text).found if tag in COMPARED)


@pytest.mark.parametrize(
    ("page", "link", "leads_to"),
    [
        ("index.md", "docs/install.md", "install.md"),
        ("index.md", "docs/install.md#values", "install.md#values"),
        ("index.md", "examples/quickstart", "files/examples/quickstart.md"),
        ("index.md", "docs/images/flow.svg", "images/flow.svg"),
        ("install.md", "upgrades.md", "upgrades.md"),
        ("install.md", "#values", "#values"),
        ("install.md", "../charts/mcp-operator/values.yaml", "files/charts/mcp-operator/values.yaml.md"),
        ("install.md", "../README.md", "index.md"),
        ("api/mcproute.md", "../routing.md", "../routing.md"),
        ("api/mcproute.md", "../../examples/routes/research.yaml", "../files/examples/routes/research.yaml.md"),
        ("install.md", "https://example.com/x#y", "https://example.com/x#y"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, leads_to: str) -> None:
    assert site_link(link, page) == leads_to


def test_code_is_left_as_it_is() -> None:
    text = "[a](docs/api.md)\n\n```text\n[a](docs/api.md)\n```\n"
    assert docs_site.rewritten(text, "index.md") == "[a](api.md)\n\n```text\n[a](docs/api.md)\n```\n"
