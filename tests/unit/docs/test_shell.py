"""Commands in the documents: each is run by a test, or stands in a short list with the reason why not; all are well-formed."""

import argparse
import importlib
import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from mcp_operator.cli.main import COMMANDS, MODULES
from mcp_operator.cli.main import main as operator
from mcp_operator_proxy.library.command import _parser as proxy_parser
from support.documents import BLOCKS, CLUSTER, HERE, PAGES, ROOT, RUNBOOK, SHELL, Block, invocations, name

NOT_RUN: Mapping[str, str] = {
    r"make ": "a target is run by whoever builds the project; that it exists is tested in test_documents.py",
    r"hack/(cluster|image) ": "the scripts that the e2e tests themselves are started with",
    r"docker ": "there is no container engine on the project's machines",
    r"kind ": "kind needs a container engine",
    r"flux ": "Flux is not installed there; its manifests are tested in tests/unit/gitops",
    r"kubectl apply -f examples/gitops/flux/": "needs the definitions of Flux; the same",
    r"argocd ": "Argo CD is not installed there; its health scripts run in tests/cluster/test_gitops.py",
    r"kubectl apply -f examples/gitops/argocd/": "needs the definitions of Argo CD; the same",
    r"kubectl port-forward ": "does not end; tests reach Services from within the cluster",
    r"helm .* --values monitoring.yaml ": "needs the Prometheus operator's API; tests/cluster/chart renders the chart with such values",
    r"helm upgrade --install mcp-operator \. ": "the chart's own page, read in its folder: the command of docs/install.md",
}
"""Commands (regular expressions on their beginnings) that no test runs, and why. They are looked at below like all others."""

SHELLS = [block for block in BLOCKS if block.language in SHELL]
shells = pytest.mark.parametrize("block", SHELLS, ids=str)
COMMANDS_OF_BLOCKS = [(block, words) for block in SHELLS for words in invocations(block)]
INLINE = re.compile(r"`((?:mcp-operator(?:-proxy)?|helm|kubectl) [^`\n]+)`")


def _of(*programs: str) -> Any:
    """Invocations of these programs: in blocks, and between backticks in the text."""
    found = [(str(block), words) for block, words in COMMANDS_OF_BLOCKS if words[0] in programs]
    found += [(page, words) for page, words in _inline() if words[0] in programs]
    return pytest.mark.parametrize(
        ("where", "words"), found, ids=[f"{where}-{n}" for n, (where, _) in enumerate(found)]
    )


def _inline() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        prose = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for text in INLINE.findall(prose.replace(r"\|", "|")):
            if re.search(r"[…|]|\b[A-Z]{4,}\b|\bNAME\b", text) is None:  # a form to fill in, and no command
                yield name(page), text.replace("'", "").replace('"', "").split()


@shells
def test_every_command_is_run_or_says_why_not(block: Block) -> None:
    if block.test in {*HERE, *CLUSTER, RUNBOOK}:
        return
    assert block.test == "", f"{block}: no scenario is called {block.test}"
    unaccounted = [
        words for words in invocations(block) if not any(re.match(known, " ".join(words) + " ") for known in NOT_RUN)
    ]
    assert unaccounted == [], f"{block}: name a scenario before the block, or say in NOT_RUN why nothing runs it"


@pytest.mark.parametrize("known", NOT_RUN)
def test_the_list_has_nothing_that_stands_nowhere(known: str) -> None:
    if known.split(maxsplit=1)[0] in {"flux", "argocd", "git"}:
        return
    assert any(re.match(known, " ".join(words) + " ") for block, words in COMMANDS_OF_BLOCKS if not block.test)


@pytest.mark.parametrize("test", sorted(HERE | CLUSTER))
def test_every_scenario_has_steps(test: str) -> None:
    assert [block for block in SHELLS if block.test == test]


@shells
def test_bash_can_read_it(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.commands, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if block.language == "console":
        assert block.commands, "a console shows a command, after a $, and what it says"
    else:
        assert not re.search(r"^\$ ", block.text, re.MULTILINE), "a prompt cannot be copied"


OURS = ("mcp-operator", "mcp-operator-proxy")


@pytest.mark.parametrize(
    ("block", "words"), [(b, w) for b, w in COMMANDS_OF_BLOCKS if w[0] in OURS], ids=lambda value: str(value)[:60]
)
def test_our_programs_take_it(block: Block, words: list[str]) -> None:
    """By the parser of the command itself."""
    try:
        _parser(words[1]).parse_args(words[2:])
    except SystemExit as ended:
        pytest.fail(f"{block}: {' '.join(words)}: {ended}")


@pytest.mark.parametrize(("page", "words"), [(page, words) for page, words in _inline() if words[0] in OURS])
def test_our_programs_have_the_flags_that_the_text_names(
    page: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program, command, *arguments = words
    if command.startswith("-") or (program, command) == ("mcp-operator-proxy", "serve"):
        return
    assert command in COMMANDS, page
    with pytest.raises(SystemExit):
        operator([command, "--help"])
    known = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", capsys.readouterr().out))
    assert {word.partition("=")[0] for word in arguments if word.startswith("-") and word != "-"} <= known, page


def _parser(command: str) -> argparse.ArgumentParser:
    if command == "proxy":
        return proxy_parser("mcp-operator")
    parser: argparse.ArgumentParser = importlib.import_module(
        f"mcp_operator.cli.{MODULES.get(command, command)}"
    )._parser()
    return parser


VALUES: Mapping[str, Any] = json.loads((ROOT / "charts" / "mcp-operator" / "values.schema.json").read_text())


@_of("helm")
def test_the_chart_has_the_values(where: str, words: list[str]) -> None:
    given = [after for word, after in itertools.pairwise(words) if word in {"--set", "--set-string"}]
    for setting in given:
        schema: Any = VALUES
        for part in setting.partition("=")[0].split("."):
            assert part in schema.get("properties", {}), f"{where}: --set {setting}"
            schema = schema["properties"][part]


KINDS = {name for kind in meta.KINDS for name in (kind.plural, kind.short_name, kind.kind.lower())} | {"mcp"}
OTHERS = {
    "crd",
    "crds",
    "deployment",
    "service",
    "secret",
    "namespace",
    "pods",
    "configmap",
    "events",
    "cm",
    "job",
    "ingress",
    "pod",
    "lease",
    "networkpolicy",
    "servicemonitor",
    "podmonitor",
    "certificate",
}
VERBS = {
    "annotate",
    "apply",
    "auth",
    "create",
    "delete",
    "describe",
    "diff",
    "explain",
    "get",
    "label",
    "logs",
    "patch",
    "port-forward",
    "rollout",
    "scale",
    "top",
    "wait",
}


@_of("kubectl")
def test_kubectl_has_the_verb_and_the_kind(where: str, words: list[str]) -> None:
    rest = [word for word in words[1:] if not word.startswith("-")]
    flagged = {
        words[n + 1] for n, word in enumerate(words[:-1]) if word in {"-n", "--namespace", "--context", "--type"}
    }
    rest = [word for word in rest if word not in flagged]
    verb, *targets = rest
    assert verb in VERBS, f"{where}: kubectl {verb}"
    if (
        verb in {"get", "describe", "wait", "annotate", "delete", "patch"}
        and targets
        and not targets[0].startswith("/")
    ):
        kinds = {part.partition("/")[0] for part in targets[0].split(",")}
        assert kinds <= KINDS | OTHERS, f"{where}: {kinds}"


@shells
def test_files_that_are_read_are_there_or_on_the_page(block: Block) -> None:
    """Of the repository, or said on the page: by its name before a block, or written by a command of it."""
    text = (ROOT / block.page).read_text()
    said = {other.file for other in BLOCKS if other.page == block.page}
    for words in invocations(block):
        for flag, path in itertools.pairwise(words):
            if flag in {"-f", "--patch-file", "--config", "--file"} and path != "-":
                there = (
                    path in said
                    or (ROOT / path).exists()
                    or re.search(rf"`{re.escape(path)}`|> {re.escape(path)}|--secrets-file {re.escape(path)}", text)
                )
                assert there, f"{block}: {path}"


def test_charts_are_named_by_their_folder() -> None:
    named = {
        word for _, words in COMMANDS_OF_BLOCKS if words[0] == "helm" for word in words if word.startswith("charts/")
    }
    assert named
    for folder in named:
        assert yaml.safe_load((ROOT / Path(folder) / "Chart.yaml").read_text())["name"] == "mcp-operator"
