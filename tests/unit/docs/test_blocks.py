"""Every fenced block of the documents is accounted for: manifests and configurations are read by what reads them in earnest.

What a block is follows from its content, or from a comment before it (`<!-- test: … -->`, see support/documents.py). Commands are
judged in test_shell.py and run in test_running.py, tests/cluster/test_docs.py and tests/e2e/test_docs.py.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import TypeAdapter

from mcp_operator.api import meta
from mcp_operator.api.crd import definition
from mcp_operator.api.meta import GROUP
from mcp_operator.api.resources import parse
from mcp_operator.cli.render import main as render
from mcp_operator_proxy.authz.cedar import Policies
from mcp_operator_proxy.config import ProxyConfig, Server
from mcp_operator_proxy.library import parse as library
from mcp_operator_proxy.refusals import RATE_LIMITED
from support.documents import BLOCKS, CLUSTER, HERE, PAGES, ROOT, RUNBOOK, SHELL, Block, name

Body = dict[str, Any]
CHART_VALUES: Mapping[str, Any] = json.loads((ROOT / "charts" / "mcp-operator" / "values.schema.json").read_text())
CONFIG_KEYS = frozenset(ProxyConfig.model_json_schema(by_alias=True)["properties"])
DIGEST = "sha256:" + "0" * 64
TESTS = frozenset(
    {
        "answer protected-resource",
        "answer rate-limit",
        "answer tool-call",
        "client",
        "local-entry",
        "prometheus-adapter",
        "proxy-errors",
        "server",
        "spec McpProxy",
        "spec McpRoute",
        "spec McpServer",
        "values",
        *HERE,
        *CLUSTER,
        RUNBOOK,
    }
)
"""What a comment may say. Outputs and answers are looked at here or, by their name, in test_running.py."""
LANGUAGES = frozenset({"yaml", "json", "python", "promql", "dockerfile", "text", *SHELL})


def of(*languages: str) -> Any:
    return pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in languages], ids=str)


def test_there_are_blocks() -> None:
    assert {"README.md", "docs/install.md", "docs/api/mcpserver.md"} <= {block.page for block in BLOCKS}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_has_a_language_and_a_known_comment(page: Any) -> None:
    """A new language wants a test of its own; add it here with that test."""
    blocks = [block for block in BLOCKS if block.page == name(page)]
    assert [str(block) for block in blocks if block.language not in LANGUAGES] == []
    assert [f"{block}: {block.test}" for block in blocks if block.test and block.test not in TESTS] == []
    said = re.findall(r"<!-- (?:test|file): .*-->", page.read_text())
    assert len(said) == len([block for block in blocks if block.test or block.file]), "a comment stands before no block"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_stands_in_fences(page: Any) -> None:
    """Indented code has no language. A line that goes on with an item of a list is none."""
    prose = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:\A|\n\n)(?! *[-*\d])(?:    \S.*)", prose)
    follows_a_list = re.compile(r"^ *(?:[-*]|\d+\.) ", re.MULTILINE)
    assert [text for text in indented if not follows_a_list.search(prose[: prose.index(text)][-400:])] == []


@of("yaml")
def test_yaml_is_read_by_what_reads_it(block: Block) -> None:
    bodies = [body for body in yaml.safe_load_all(block.text) if body]
    assert bodies
    for body in bodies:
        _judge(body, block)


def _judge(body: Body, block: Block) -> None:
    match block.test.split():
        case ["spec", kind]:
            _resource({"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": "x"}} | _complete(body))
        case ["prometheus-adapter"]:
            assert all({"seriesQuery", "resources", "metricsQuery"} <= rule.keys() for rule in body["rules"])
        case ["values"]:
            _values(body)
        case _ if "apiVersion" in body:
            _object(body)
        case _ if {"mcpServers", "servers"} & body.keys():
            library.parse(body, {"TOKEN": "t", "DOCS_TOKEN": "d"})
        case _ if body.keys() <= CONFIG_KEYS:
            _config(body)
        case _ if body.keys() <= CHART_VALUES["properties"].keys():
            _values(body)
        case _:
            pytest.fail(f"{block}: nobody reads this; say by <!-- test: … --> what it is")


def _complete(body: Body) -> Body:
    """A part of a spec, with what a resource of any kind needs, and with digests in the place of dots."""
    text = json.dumps(body, ensure_ascii=False).replace("sha256:…", DIGEST)
    read: Body = json.loads(text)
    spec = read.get("spec", read)
    return {"spec": {"remote": {"url": "https://x.test/mcp"}, **spec} if "pinning" in spec else spec}


def _object(body: Body) -> None:
    """A Kubernetes object, or one of a tool that reads its manifests in that form."""
    group, _, _ = str(body["apiVersion"]).rpartition("/")
    if group == GROUP:
        _resource(body)
        return
    if group == "kind.x-k8s.io":
        _kind_cluster(body)
        return
    assert body["metadata"]["name"]
    needed = {
        "kustomize.toolkit.fluxcd.io": {"interval", "path", "prune", "sourceRef"},
        "argoproj.io": {"source", "destination"},
    }
    assert needed.get(group, set()) <= body.get("spec", {}).keys()
    known = {
        "",
        "apps",
        "networking.k8s.io",
        "gateway.networking.k8s.io",
        "monitoring.coreos.com",
        "source.toolkit.fluxcd.io",
    }
    assert group in known | needed.keys() | {"helm.toolkit.fluxcd.io"}, f"what is {group}?"


def _resource(body: Body) -> None:
    """By the models, which hold the rules too, and by the schema of the definition."""
    parse(body, strict=True)
    schema = SCHEMAS[body["kind"]]
    errors = [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(body)]
    assert errors == []


def _closed(schema: Any) -> Any:
    """A structural schema as the API server reads it with strict validation: no other fields."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    read = {key: _closed(value) for key, value in schema.items()}
    if read.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    free = "additionalProperties" in read or read.get("x-kubernetes-preserve-unknown-fields")
    return read if free or not isinstance(read.get("properties"), Mapping) else {**read, "additionalProperties": False}


def _schemas() -> Iterator[tuple[str, Any]]:
    for kind in meta.KINDS:
        root = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        parts = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        parts |= {part: _closed(root["properties"][part]) for part in ("spec", "status")}
        yield kind.kind, {"type": "object", "properties": parts, "required": ["spec"], "additionalProperties": False}


SCHEMAS = dict(_schemas())


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_the_schemas_refuse_what_they_do_not_know(kind: str) -> None:
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": {"nonsense": 1}}
    assert not Draft7Validator(SCHEMAS[kind]).is_valid(body)


def _kind_cluster(body: Body) -> None:
    assert (body["apiVersion"], body["kind"]) == ("kind.x-k8s.io/v1alpha4", "Cluster")
    for node in body["nodes"]:
        assert node["role"] in {"control-plane", "worker"}
        for mapping in node.get("extraPortMappings", ()):
            assert mapping.keys() <= {"containerPort", "hostPort", "listenAddress", "protocol"}
            assert 30000 <= mapping["containerPort"] <= 32767, "a NodePort"


def _values(body: Body) -> None:
    assert [error.message for error in Draft7Validator(CHART_VALUES).iter_errors(body)] == []


def _config(body: Body) -> None:
    """A part of a proxy's configuration: what it refers to is made beside it."""
    config = ProxyConfig.model_validate({"revision": "0", **body})
    if config.authorization is not None:
        Policies(config.authorization.policies)


@of("json")
def test_json_is_read_by_what_reads_it(block: Block) -> None:
    text = block.text if block.text.lstrip().startswith(("{", "[")) else f"{{{block.text}}}"
    body = json.loads(text)
    if block.test in ANSWERS:
        ANSWERS[block.test](body)
    elif block.test == "server":
        whole = json.loads(text.replace("sha256:…", DIGEST).replace('"{…}"', '"{}"'))
        TypeAdapter(Server).validate_python(whole)
    elif block.test == "local-entry":
        (entry,) = body["mcpServers"].values()
        assert entry.keys() == {"type", "url"}
    elif {"mcpServers", "servers"} & body.keys():
        library.parse(body, {"TOKEN": "t", "DOCS_TOKEN": "d"})
    else:
        assert body.keys() <= CONFIG_KEYS, f"{block}: nobody reads this; say by <!-- test: … --> what it is"
        _config({**body, **_beside(body)})


def _beside(body: Body) -> Body:
    """What a part of a configuration needs in the rest of it."""
    stores = {"database": {"file": "database"}, "encryptionKeys": [{"file": "key"}]}
    return {"stores": stores} if body.get("audit", {}).get("database") else {}


def _rate_limit(body: Body) -> None:
    assert body["code"] == RATE_LIMITED
    assert body["data"].keys() == {"limit", "retryAfter", "executed"}


def _protected_resource(body: Body) -> None:
    """RFC 9728, section 2."""
    assert body.keys() == {"resource", "authorization_servers", "scopes_supported", "bearer_methods_supported"}


def _tool_call(body: Body) -> None:
    api = yaml.safe_load((ROOT / "tests" / "golden" / "openapi.yaml").read_text())
    schema = api["paths"]["/tools/call"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": api["components"]})
    assert [error.message for error in validator.iter_errors(body)] == []


ANSWERS: Mapping[str, Callable[[Body], None]] = {
    "answer protected-resource": _protected_resource,
    "answer rate-limit": _rate_limit,
    "answer tool-call": _tool_call,
}


@of("python")
def test_python_compiles(block: Block) -> None:
    """Those of docs/library.md are run by tests/unit/library, that of README.md in test_running.py."""
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@of("dockerfile")
def test_dockerfiles_begin_so(block: Block) -> None:
    files = [ROOT / "operator" / "Dockerfile", ROOT / "proxy_image" / "Dockerfile"]
    for file in files:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        written = block.text.splitlines()
        assert lines[0] == written[0]
        assert any(line.startswith(written[1]) for line in lines)


@of("text")
def test_text_is_a_picture_or_an_output(block: Block) -> None:
    """No command, no manifest and no configuration hides in it."""
    programs = r"(?:\$ |kubectl |helm |docker |kind |curl |make |pip |mcp-operator(?:-proxy)? (?!proxy: ))"
    assert (
        re.findall(
            rf"^\s*{programs}.*$", re.sub(r"^kubectl apply ──.*$", "", block.text, flags=re.MULTILINE), re.MULTILINE
        )
        == []
    )
    assert "apiVersion:" not in block.text


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml" and GROUP in block.text], ids=str
)
def test_manifests_can_be_rendered(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the operator would make of them: 0 says that every manifest is valid, and objects come out of servers and proxies."""
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(block.text)
    assert render(["-f", str(manifests)]) == 0
    kinds = {body["kind"] for body in yaml.safe_load_all(capsys.readouterr().out) if body}
    declared = [body for body in yaml.safe_load_all(block.text) if body]
    if any(body["kind"] == "McpServer" and "remote" not in body["spec"] for body in declared):
        assert {"Deployment", "Service"} <= kinds
