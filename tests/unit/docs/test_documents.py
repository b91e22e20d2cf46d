"""The documents say what is there: targets, links, metrics, reasons and folders exist, pages are up to date. Blocks: test_blocks.py."""

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import CollectorRegistry

import api_docs
import demo
import demo_cluster
from mcp_operator.api.crd.definitions import PENDING
from mcp_operator.api.meta import GROUP
from mcp_operator.api.resources import parse
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.conditions.reasons import PROGRESSING, TERMINAL, Reason, Type
from mcp_operator_proxy.bridge.metrics import Metrics as BridgeMetrics
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import ErrorClass
from mcp_operator_proxy.services.credentials.metrics import CredentialMetrics

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").glob("*/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<EOF\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=_name)


def code(text: str) -> str:
    """Everything that stands as code: fenced, indented, or between backticks."""
    prose = FENCE.sub("", text)
    fenced = [content for _, content in FENCE.findall(text)]
    indented = re.findall(r"^    .*$", prose, re.MULTILINE)
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`\n]+)`", prose)])


@pytest.mark.parametrize(
    ("page", "text"),
    [(_name(page), text) for page in PAGES for text in HEREDOC.findall(page.read_text())],
)
def test_manifests_that_commands_are_given_are_valid(page: str, text: str) -> None:
    """Those that stand in blocks of their own: test_blocks.py."""
    bodies = [body for body in yaml.safe_load_all(text) if body]
    assert bodies
    for body in bodies:
        if str(body.get("apiVersion", "")).startswith(GROUP):
            parse(body, strict=True)


@pages
def test_make_targets_exist(page: Path) -> None:
    makefiles = "\n".join((ROOT / name).read_text() for name in ("Makefile", "hack/cluster.mk"))
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefiles, re.MULTILINE))
    commands = re.findall(r"\bmake((?: [a-z][a-z0-9-]*)+)", code(page.read_text()))
    named = {word for words in commands for word in words.split()}
    assert named <= targets


def test_the_makefile_is_read_without_a_warning() -> None:
    done = subprocess.run(["make", "--dry-run", "help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pages
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    """Ids of the headings, made as GitHub does."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_mentioned_files_exist(page: Path) -> None:
    """Paths in backticks that begin with a folder of the repository."""
    tops = "operator|proxy_image|crds|charts|examples|tests|hack|docs"
    named = re.findall(rf"`((?:{tops})/[\w./-]+)`", page.read_text())
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []


def test_layout_in_the_readme_exists() -> None:
    layout = FENCE.findall((ROOT / "README.md").read_text().partition("## Layout")[2])[0][1]
    paths = [line.split()[0] for line in layout.splitlines() if line and not line.startswith(" ")]
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def test_the_reference_is_up_to_date() -> None:
    assert api_docs.outdated() == [], "run make docs-api"


CONDITIONS = (ROOT / "docs" / "conditions.md").read_text()


def _first_cells(heading: str, text: str = CONDITIONS) -> list[str]:
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_condition_type_is_explained() -> None:
    assert sorted(_first_cells("Types")) == sorted(Type)


def test_every_reason_is_explained_once() -> None:
    assert sorted(_first_cells("Reasons")) == sorted([*Reason, PENDING["reason"]])


def test_every_error_class_is_explained_once() -> None:
    assert sorted(_first_cells("Error classes of probes")) == sorted(get_args(ErrorClass))


def test_stalled_and_reconciling_stand_with_their_reasons() -> None:
    sentence = CONDITIONS.partition("`Stalled` stands beside ")[2].partition("\n\n")[0]
    stalled, _, reconciling = sentence.partition("`Reconciling` beside")
    assert set(re.findall(r"`(\w+)`", stalled)) == TERMINAL
    assert set(re.findall(r"`(\w+)`", reconciling)) == PROGRESSING


def _series() -> set[str]:
    """Names of all series of operator, proxy and bridge, as Prometheus asks for them."""
    operator = CollectorRegistry()
    OperatorMetrics(operator)
    proxy = Proxy().metrics.registry
    CredentialMetrics(proxy)  # made where a configuration wants credentials
    registries = (operator, proxy, BridgeMetrics().registry)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for registry in registries
        for family in registry.collect()
    }


def test_every_metric_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(_series())


@pytest.mark.parametrize("text", [demo_cluster.SERVERS, demo_cluster.SWAPPED_IN, demo.MEMORY % "/tmp/memory.json"])
def test_manifests_of_the_demos_are_valid(text: str) -> None:
    for body in yaml.safe_load_all(text):
        parse(body, strict=True)
