"""What mkdocs does with the pages beside rendering them (a hook of hack/mkdocs.yml; https://www.mkdocs.org/dev-guide/plugins/#events).

The pages are written to be read in the repository too: they link to files outside of docs/. Such a file becomes a page of the site, and
README.md is the first one.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = "index.md"
DOCS: Final = "docs"
SOURCES: Final = "files"
"""Folder of the site for files of the repository that are not in docs/."""

FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(?P<before>\]\(|\b(?:src|srcset)=\")(?P<target>[^)\s\"]+)")
LANGUAGES: Final = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".py": "python", ".lua": "lua"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as the first page, and every file that a page links to from outside of docs/."""
    files.append(File.generated(config, HOME, content=(ROOT / "README.md").read_text(encoding="utf-8")))
    for target in sorted(set(_linked(files))):
        page = File.generated(config, _source_page(target), content=_shown(target))
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the repository links of the site."""
    del config, files
    if page.file.src_uri.startswith(f"{SOURCES}/"):
        return markdown
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, uri: str) -> str:
    """The text of the page `uri` of the site, its links to files of the repository made to fit; code is left as it is."""

    def replaced(match: re.Match[str]) -> str:
        return match["before"] + site_link(match["target"], uri)

    parts = re.split(f"({FENCE.pattern})", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def site_link(link: str, uri: str) -> str:
    """Where `link` of the page `uri` (relative to docs/; README.md is `index.md`) leads within the site."""
    path, mark, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    target = in_repository(path, uri)
    if target == "README.md":
        target = f"{DOCS}/{HOME}"
    inside = target.removeprefix(f"{DOCS}/") if target.startswith(f"{DOCS}/") else _source_page(target)
    return posixpath.relpath(inside, posixpath.dirname(uri) or ".") + mark + anchor


def in_repository(path: str, uri: str) -> str:
    """What a relative link of the page `uri` names, from the top of the repository."""
    folder = "" if uri == HOME else posixpath.join(DOCS, posixpath.dirname(uri))
    return posixpath.normpath(posixpath.join(folder, path))


def _linked(files: Files) -> Iterator[str]:
    for file in files.documentation_pages():
        for match in LINK.finditer(FENCE.sub("", file.content_string)):
            path = match["target"].partition("#")[0]
            if not path or re.match(r"[a-z]+:", path):
                continue
            target = in_repository(path, file.src_uri)
            if not target.startswith((f"{DOCS}/", "..")) and target != "README.md" and (ROOT / target).exists():
                yield target


def _source_page(target: str) -> str:
    return f"{SOURCES}/{target}.md"


def _shown(target: str) -> str:
    """A page with the text of a file, or of all files of a folder."""
    path = ROOT / target
    members = _members(path) if path.is_dir() else {target: path}
    parts = [f"# {target}\n"]
    for name, member in members.items():
        heading = f"## {name}\n\n" if path.is_dir() else ""
        text = member.read_text(encoding="utf-8").strip("\n")
        parts.append(f"{heading}````{LANGUAGES.get(member.suffix, 'text')}\n{text}\n````\n")
    return "\n".join(parts)


def _members(folder: Path) -> Mapping[str, Path]:
    found = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    return {str(path.relative_to(folder)): path for path in sorted(found)}
