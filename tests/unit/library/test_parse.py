"""Configs that are wrong, and what is said of them; configs that are right, and what is made of them."""

from pathlib import Path
from typing import Any

import pytest

from mcp_operator_proxy.library.compile import LocalTools, Options, compile_document
from mcp_operator_proxy.library.document import Document
from mcp_operator_proxy.library.errors import ConfigError
from mcp_operator_proxy.library.expand import CannotExpand, expand
from mcp_operator_proxy.library.files import ca_bundles, read
from mcp_operator_proxy.library.parse import parse
from mcp_operator_proxy.library.redact import redacted

ENVIRON = {"TOKEN": "t0p-s3cret-value", "DIR": "/srv", "EMPTY": ""}
URL = "https://example.com/mcp"


def one(**server: Any) -> dict[str, Any]:
    return {"mcpServers": {"time": server}}


WRONG: list[tuple[Any, str]] = [
    ([], "must be an object with mcpServers or servers"),
    ({}, "holds neither mcpServers (as desktop clients write it) nor servers."),
    ({"command": "uvx"}, 'It looks like one server: write {"mcpServers": {"NAME": {…}}}.'),
    ({"mcpServers": {}, "servers": {}}, "servers: write all servers into mcpServers, or all into servers"),
    ({"servers": {}, "prxy": {}}, "prxy: unknown field; did you mean proxy?"),
    ({"servers": []}, "servers: must be an object with one entry for each server, by its name"),
    ({"servers": {}, "proxy": {"namespace": "a b"}}, "proxy.namespace: must have 1 to 64 letters, digits"),
    ({"servers": {}, "proxy": {"naming": "{who}"}}, "proxy.naming: naming template has an unknown placeholder {who}"),
    ({"servers": {}, "proxy": {"naming": "x"}}, "proxy.naming: naming template needs {tool} exactly once"),
    ({"servers": {}, "proxy": {"enabled": "yes"}}, "proxy.enabled: must be true or false"),
    ({"servers": {}, "proxy": {"prefix": "x"}}, "proxy.prefix: unknown field; known are enabled, namespace, naming"),
    ({"servers": {}, "proxy": 1}, "proxy: must be an object"),
    ({"mcpServers": {"time": "uvx"}}, "mcpServers.time: must be an object, for example"),
    ({"mcpServers": {"…": {"url": URL}}}, "mcpServers.…: a server's name has a letter or digit"),
    ({"mcpServers": {"a b": {"url": URL}, "a-B": {"url": URL}}}, "mcpServers.a-B: its name is too much like a b"),
    (one(), "mcpServers.time: needs exactly one of command (a program to run) and url (a server to reach): it has neither"),
    (one(command="a", url=URL), "mcpServers.time: needs exactly one of command (a program to run) and url"),
    (one(command=["a", "b"]), "mcpServers.time.command: must be a string; write it in quotes"),
    (one(command=""), "mcpServers.time.command: must name a program"),
    (one(command="npx -y server"), "mcpServers.time.command: must be one program; write its arguments into args"),
    (one(command="a", args="b"), 'mcpServers.time.args: must be a list, for example ["a", "b"]'),
    (one(command="a", args=[1]), "mcpServers.time.args[0]: must be a string; write it in quotes"),
    (one(command="a", env={"PORT": 1}), "mcpServers.time.env.PORT: must be a string; write it in quotes"),
    (one(command="a", env={"A B": "1"}), "mcpServers.time.env.A B: the name of a variable has letters"),
    (one(command="a", env=["A=1"]), "mcpServers.time.env: must be an object"),
    (one(command="a", cwd=1), "mcpServers.time.cwd: must be a string"),
    (one(command="a", headers={}), "mcpServers.time.headers: is for a server with url; remove it"),
    (one(command="a", type="http"), "mcpServers.time.type: does not fit to a server with command: write stdio"),
    (one(command="a", isolation="pod"), "mcpServers.time.isolation: must be 'shared', 'session' or 'user'"),
    (one(command="a", maxProcesses=0), "mcpServers.time.maxProcesses: must be greater than or equal to 1"),
    (one(command="a", maxProcesses=1.5), "mcpServers.time.maxProcesses: must be a whole number"),
    (one(url="example.com"), "mcpServers.time.url: must be an http or https URL"),
    (one(url="ftp://example.com"), "mcpServers.time.url: must be an http or https URL"),
    (one(url="http:///mcp"), "mcpServers.time.url: must be an http or https URL"),
    (one(url="https://me:t0p-s3cret@example.com"), "mcpServers.time.url: must hold no user and password; write them into"),
    (one(url=URL, headers={"A": "1", "a": "2"}), "mcpServers.time.headers.a: is the same header as A; keep one"),
    (one(command="a\0"), "mcpServers.time.command: must be text of at most 4096 characters without NUL"),
    (one(command="a", args=["b", "c\0"]), "mcpServers.time.args[1]: must be text without NUL"),
    (one(command="a", cwd=""), "mcpServers.time.cwd: must name a folder"),
    (one(url=URL, disabledTools=["a"]), "mcpServers.time.disabledTools: unknown field; write tools.exclude"),
    (one(url=URL, includeTools=["a"]), "mcpServers.time.includeTools: unknown field; write tools.include"),
    (one(url=URL, tools={"overrides": {"": {"cacheSeconds": 1}}}), "time.tools.overrides.: the name of a tool, or a glob, has"),
    (
        one(url=URL, tools={"overrides": {"a": {"rename": "c"}, "b": {"rename": "c"}}}),
        "time.tools.overrides.b.rename: is the new name of a too; no two tools can have one name",
    ),
    (one(url=URL, args=["a"]), "mcpServers.time.args: is for a server with command; remove it"),
    (one(url=URL, headers={"A B": "c"}), "mcpServers.time.headers.A B: must be an HTTP header"),
    (one(url=URL, headers={"A": "b\nc"}), "mcpServers.time.headers.A: must be an HTTP header"),
    (one(url=URL, type="stdio"), "mcpServers.time.type: does not fit to a server with url: write http, sse or auto"),
    (one(url=URL, type="grpc"), "mcpServers.time.type: must be one of stdio, http,"),
    (one(url=URL, type="sse", transport="http"), "mcpServers.time.transport: contradicts type; write one of them"),
    (one(url=URL, enabled=True, disabled=True), "mcpServers.time.disabled: contradicts enabled; write one of them"),
    (one(url=URL, timeout=5), "mcpServers.time.timeout: unknown field; write timeoutSeconds, in seconds (clients disagree"),
    (one(url=URL, timeoutSeconds="5"), "mcpServers.time.timeoutSeconds: must be a number"),
    (one(url=URL, timeoutSeconds=0), "mcpServers.time.timeoutSeconds: must be greater than 0"),
    (one(url=URL, timeout_seconds=5), "mcpServers.time.timeout_seconds: unknown field; did you mean timeoutSeconds?"),
    (one(uri=URL), "mcpServers.time.uri: unknown field; write url"),
    (one(comand="a"), "mcpServers.time.comand: unknown field; did you mean command?"),
    (one(url=URL, retry={"attempts": 0}), "mcpServers.time.retry.attempts: must be greater than or equal to 1"),
    (one(url=URL, tools=["a"]), "mcpServers.time.tools: must be an object"),
    (one(url=URL, tools={"only": ["a"]}), "mcpServers.time.tools.only: unknown field; known are include, exclude, overrides"),
    (one(url=URL, tools={"include": "a"}), "mcpServers.time.tools.include: must be a list"),
    (one(url=URL, tools={"overrides": {"a": {"renam": "b"}}}), "time.tools.overrides.a.renam: unknown field; did you mean rename?"),
    (one(url=URL, tools={"overrides": {"a": {"rename": "b c"}}}), "time.tools.overrides.a.rename: must have 1 to 128 letters, digits"),
    (one(url=URL, tools={"overrides": {"a*": {"rename": "b"}}}), "time.tools.overrides.a*: rename and description are for one tool"),
    (one(url="${NOPE}"), "mcpServers.time.url: the environment variable NOPE is not set; set it, or write ${NOPE:-default}"),
    (one(command="a", env={"K": "${NOPE} ${NOR}"}), "the environment variable NOPE is not set"),
    (one(url=URL, headers={"A": "${input:key}"}), "mcpServers.time.headers.A: ${…} must hold the name of an environment variable"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "said"), WRONG, ids=[said[:60] for _, said in WRONG])
def test_what_is_wrong_is_said(data: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data, ENVIRON, "claude.json")
    text = str(refused.value)
    assert f"claude.json: {said}" in text or said in text
    assert all(line.startswith("claude.json: ") for line in text.splitlines())


def test_all_problems_at_once_and_no_value() -> None:
    data = {
        "mcpServers": {
            "a": {"command": "x", "args": "hunter2", "env": {"KEY": 12345}},
            "b": {"url": "hunter2", "headers": {"Authorization": "Bearer hunter2\n"}},
            "c": {"command": "hunter2 hunter2", "evn": {}, "cwd": "${MISSING}"},
            "d": {"url": "${MISSING}"},
        }
    }
    with pytest.raises(ConfigError) as refused:
        parse(data, ENVIRON)
    assert {problem.path for problem in refused.value.problems} == {
        "mcpServers.a.args",
        "mcpServers.a.env.KEY",
        "mcpServers.b.url",
        "mcpServers.b.headers.Authorization",
        "mcpServers.c.evn",
        "mcpServers.c.cwd",
        "mcpServers.d.url",
    }
    assert len(refused.value.problems) == 7  # what a missing variable would hold is not judged
    assert "hunter2" not in str(refused.value)
    assert "12345" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${TOKEN}", "t0p-s3cret-value"),
        ("Bearer ${env:TOKEN}!", "Bearer t0p-s3cret-value!"),
        ("${DIR}/${NOPE:-x}", "/srv/x"),
        ("${NOPE:-}", ""),
        ("${EMPTY}", ""),
        ("$${TOKEN}", "${TOKEN}"),
        ("$TOKEN $ {}", "$TOKEN $ {}"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    assert expand(text, ENVIRON) == expected


def test_a_missing_variable_names_itself_and_no_value() -> None:
    with pytest.raises(CannotExpand) as refused:
        expand("${TOKEN} ${NOPE} ${NOR}", ENVIRON)
    assert "NOPE" in str(refused.value)
    assert "NOR" in str(refused.value)
    assert ENVIRON["TOKEN"] not in str(refused.value)


def compiled(document: Document, **options: Any) -> Any:
    local = LocalTools("http://127.0.0.1:1/mcp", {"Authorization": "Bearer k"})
    made = compile_document(
        document, Options(**options), served=set(document.servers), local=local, ca_bundles={}, salt=b"s"
    )
    return made.config.model_dump(mode="json", by_alias=True, exclude_none=True), made.secrets


def test_a_desktop_clients_file_becomes_a_config_without_credentials() -> None:
    data = {
        "globalShortcut": "Ctrl+Space",
        "mcpServers": {
            "Google Maps": {
                "command": "npx",
                "args": ["-y", "maps", "${DIR}"],
                "env": {"KEY": "${TOKEN}"},
                "autoApprove": ["geocode"],
            },
            "remote": {
                "type": "http",
                "url": URL,
                "headers": {"Authorization": "Bearer ${TOKEN}"},
                "timeoutSeconds": 7,
            },
        },
    }
    config, secrets = compiled(parse(data, ENVIRON))
    _, maps, remote = config["servers"]
    assert (maps["id"], maps["stdio"]["args"]) == ("proxy/google-maps", ["-y", "maps", "/srv"])
    assert (remote["url"], remote["transport"], remote["callTimeoutSeconds"]) == (URL, "streamable-http", 7)
    assert secrets[maps["stdio"]["env"][0]["secret"]["file"]] == ENVIRON["TOKEN"]
    assert secrets[remote["headers"][0]["secret"]["file"]] == f"Bearer {ENVIRON['TOKEN']}"
    assert ENVIRON["TOKEN"] not in str(config)
    (route,) = config["routes"]
    assert [entry["naming"] for entry in route["servers"]] == ["{tool}", "Google-Maps_{tool}", "remote_{tool}"]
    assert len({entry["prefix"] for entry in route["servers"]}) == 3


@pytest.mark.parametrize(
    ("proxy", "form", "expected"),
    [
        ({}, "servers", "proxy.time.{tool}"),
        ({"namespace": "my"}, "servers", "my.time.{tool}"),
        ({}, "mcpServers", "time_{tool}"),
        ({"namespace": "my"}, "mcpServers", "my.time.{tool}"),
        ({"naming": "{server}-{tool}"}, "servers", "time-{tool}"),
        ({"naming": "{tool}"}, "servers", "{tool}"),
    ],
)
def test_naming(proxy: dict[str, Any], form: str, expected: str) -> None:
    config, _ = compiled(parse({form: {"time": {"url": URL}}, "proxy": proxy}, ENVIRON))
    assert config["routes"][0]["servers"][1]["naming"] == expected


def test_tools_filters_and_settings() -> None:
    tools = {
        "include": ["get_*"],
        "exclude": ["get_x"],
        "overrides": {
            "get_a": {"rename": "a", "description": "A!", "timeoutSeconds": 1, "cacheSeconds": 60},
            "get_*": {"idempotent": True},
        },
    }
    config, _ = compiled(parse(one(url=URL, tools=tools), ENVIRON))
    server, entry = config["servers"][1], config["routes"][0]["servers"][1]
    assert server["tools"] == [
        {"name": "get_a", "callTimeoutSeconds": 1.0, "cacheSeconds": 60.0},
        {"name": "get_*", "idempotent": True},
    ]
    assert entry["tools"] == {
        "include": ["get_*"],
        "exclude": ["get_x"],
        "overrides": [{"name": "get_a", "rename": "a", "description": "A!"}],
    }


def test_the_revision_covers_secrets() -> None:
    def revision(token: str) -> str:
        config, _ = compiled(parse(one(url=URL, headers={"A": "${TOKEN}"}), {"TOKEN": token}))
        return str(config["revision"])

    assert revision("a") == revision("a") != revision("b")


def test_files(tmp_path: Path) -> None:
    yaml = tmp_path / "proxy.yaml"
    yaml.write_text("servers:\n  time: {url: 'https://example.com/mcp'}\n")
    assert read(yaml) == {"servers": {"time": {"url": URL}}}
    for name, text, said in (
        ("a.json", '{"mcpServers": {,}}', "is not JSON: Expecting property name enclosed in double quotes (line 1, column 17)"),
        ("a.yaml", "a: [1", "is not YAML (line 1, column 6)"),
        ("a.yml", "a: b: c", "is not YAML (line 1, column 5)"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError) as refused:
            read(tmp_path / name)
        assert str(refused.value) == f"{tmp_path / name}: {said}"
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read(tmp_path / "bytes.json")


def test_a_bad_ca_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    servers = {"a": {"url": URL, "caFile": str(tmp_path / "ca.pem")}, "b": {"url": URL, "caFile": "/nonexistent"}}
    with pytest.raises(ConfigError) as refused:
        ca_bundles(parse({"mcpServers": servers}, ENVIRON), "c.json")
    assert str(refused.value).splitlines() == [
        "c.json: mcpServers.a.caFile: is not a bundle of PEM certificates",
        "c.json: mcpServers.b.caFile: cannot be read: No such file or directory",
    ]


def test_what_is_shown_of_a_config() -> None:
    data = {
        "mcpServers": {
            "a": {
                "command": "x",
                "args": ["--token", "hunter2", "--api-key=hunter2", "KEY=hunter2", "-v", "Authorization: Bearer hunter2",
                         "https://u:hunter2@h/?k=hunter2", "--password", "${PASSWORD}", "plain"],
                "env": {"A": "hunter2", "B": "${B}"},
            },
            "b": {"url": "https://me:hunter2@h/mcp?key=hunter2", "headers": {"X": "hunter2", "Y": "Bearer ${T}"}},
        },
        "preferences": {"secret": "hunter2"},
    }  # fmt: skip
    shown = redacted(data)
    assert "hunter2" not in str(shown)
    assert shown["mcpServers"]["a"]["args"] == [
        "--token", "***", "--api-key=***", "KEY=***", "-v", "Authorization: ***", "https://u:***@h/?k=***",
        "--password", "${PASSWORD}", "plain",
    ]  # fmt: skip
    assert shown["mcpServers"]["a"]["env"] == {"A": "***", "B": "${B}"}
    assert shown["mcpServers"]["b"] == {
        "url": "https://me:***@h/mcp?key=***",
        "headers": {"X": "***", "Y": "Bearer ${T}"},
    }
