"""Commands in the documents: each is run by a test, or stands in a short list with the reason why not; all are well-formed."""

import argparse
import importlib
import itertools
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from mcp_operator.cli.main import COMMANDS, MODULES
from mcp_operator.cli.main import main as operator
from mcp_operator_proxy.library.command import _parser as proxy_parser
from support.documents import (
    BLOCKS,
    CLUSTER,
    HERE,
    NOT_RUN,
    PAGES,
    ROOT,
    RUNBOOK,
    SHELL,
    Block,
    invocations,
    name,
    said,
)

SHELLS = [block for block in BLOCKS if block.language in SHELL]
shells = pytest.mark.parametrize("block", SHELLS, ids=str)
COMMANDS_OF_BLOCKS = [(block, words) for block in SHELLS for words in invocations(block)]


def _of(*programs: str) -> Any:
    """Invocations of these programs: in blocks, and between backticks in the text."""
    found = [(str(block), words) for block, words in COMMANDS_OF_BLOCKS if words[0] in programs]
    found += [(page, words) for page, words in _inline() if words[0] in programs]
    return pytest.mark.parametrize(
        ("where", "words"), found, ids=[f"{where}-{n}" for n, (where, _) in enumerate(found)]
    )


def _inline() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for text in said(page):
            if "|" not in text:
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
    assert any(re.match(known, " ".join(words) + " ") for _, words in COMMANDS_OF_BLOCKS)


@pytest.mark.parametrize("test", sorted(HERE | CLUSTER))
def test_every_scenario_has_steps(test: str) -> None:
    """And a test that runs them, which names it."""
    assert [block for block in SHELLS if block.test == test]
    file = "unit/docs/test_running.py" if test in HERE else "e2e/test_docs.py"
    assert f'"{test}"' in (ROOT / "tests" / file).read_text()


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


def test_images_are_built_as_by_the_project() -> None:
    """Those commands that need a container engine say what hack/images/images.toml says, which the e2e tests are run with."""
    images = tomllib.loads((ROOT / "hack" / "images" / "images.toml").read_text())["image"]
    wanted = {image["name"]: (image["dockerfile"], image.get("target"), image["context"]) for image in images}
    parser = argparse.ArgumentParser()
    for flag in ("--tag", "--file", "--target"):
        parser.add_argument(flag)
    parser.add_argument("context")
    built = [parser.parse_args(words[2:]) for _, words in COMMANDS_OF_BLOCKS if words[:2] == ["docker", "build"]]
    assert {args.tag: (args.file, args.target, args.context) for args in built} == wanted
    loaded = [words for _, words in COMMANDS_OF_BLOCKS if words[:3] == ["kind", "load", "docker-image"]]
    assert [set(words) & wanted.keys() for words in loaded] == [wanted.keys()]


def test_charts_are_named_by_their_folder() -> None:
    named = {
        word for _, words in COMMANDS_OF_BLOCKS if words[0] == "helm" for word in words if word.startswith("charts/")
    }
    assert named
    for folder in named:
        assert yaml.safe_load((ROOT / Path(folder) / "Chart.yaml").read_text())["name"] == "mcp-operator"
