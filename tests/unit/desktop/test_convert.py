"""Entries of a client's file as manifests.

stdio · remote · what is a credential, and where it goes · references · wrappers · what is told · what is refused
"""

import base64
import json
from typing import Any

import pytest

from mcp_operator.api.resources import parse
from mcp_operator.desktop.convert import PLACEHOLDER, Imported, convert

Body = dict[str, Any]


def one(entry: object, name: str = "one") -> Imported:
    return convert({name: entry}, proxy="tools")


def spec(entry: object) -> Body:
    imported = one(entry)
    assert imported.refused == []
    return imported.servers[0]["spec"]


def test_a_command() -> None:
    entry = {"command": "uvx", "args": ["mcp-server-time", "--port", 8], "env": {"LOG": "debug", "N": 1, "ON": True}}
    assert spec(entry) == {
        "stdio": {
            "command": "uvx",
            "args": ["mcp-server-time", "--port", "8"],
            "env": [
                {"name": "LOG", "value": "debug"},
                {"name": "N", "value": "1"},
                {"name": "ON", "value": "true"},
            ],
        }
    }


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ({"url": "https://x.example.com/mcp"}, None),
        ({"serverUrl": "https://x.example.com/mcp"}, None),
        ({"httpUrl": "https://x.example.com/mcp"}, "streamable-http"),
        ({"url": "https://x.example.com/mcp", "type": "http"}, "streamable-http"),
        ({"url": "https://x.example.com/mcp", "type": "streamableHttp"}, "streamable-http"),
        ({"url": "https://x.example.com/mcp", "transport": "sse"}, "sse"),
    ],
)
def test_a_url(entry: Body, transport: str | None) -> None:
    expected = {"url": "https://x.example.com/mcp"} | ({"transport": transport} if transport else {})
    assert spec(entry) == {"remote": expected}


def test_the_proxy_takes_them_all_and_nothing_else() -> None:
    imported = convert({"a": {"command": "x"}, "b": {"url": "https://x/mcp"}}, proxy="mine", namespace="team")
    proxy = parse(imported.proxy or {})
    selector = proxy.spec.servers.selector  # type: ignore[union-attr]
    assert selector is not None
    assert all(selector.matches(body["metadata"]["labels"]) for body in imported.servers)
    assert not selector.matches({})
    assert {body["metadata"]["namespace"] for body in (*imported.servers, imported.proxy or {})} == {"team"}


def test_credentials_of_variables_and_headers_go_into_a_secret() -> None:
    imported = convert(
        {
            "My Git": {"command": "npx", "env": {"GITHUB_TOKEN": "hunter2", "REPO": "a/b", "X": "sk-abcdefgh12345678"}},
            "docs": {"url": "https://x/mcp", "headers": {"Authorization": "Bearer hunter2", "X-Team": "core"}},
        },
        proxy="tools",
    )
    git, docs = (body["spec"] for body in imported.servers)
    ref = {"secretKeyRef": {"name": "my-git-credentials", "key": "GITHUB_TOKEN"}}
    assert git["stdio"]["env"] == [
        {"name": "GITHUB_TOKEN", "valueFrom": ref},
        {"name": "REPO", "value": "a/b"},
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "my-git-credentials", "key": "X"}}},
    ]
    assert docs["remote"]["headers"] == [
        {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "docs-credentials", "key": "Authorization"}}},
        {"name": "X-Team", "value": "core"},
    ]
    assert imported.secrets == {
        "my-git-credentials": {"GITHUB_TOKEN": "hunter2", "X": "sk-abcdefgh12345678"},
        "docs-credentials": {"Authorization": "Bearer hunter2"},
    }
    shown = json.dumps([imported.servers, imported.proxy, imported.notes, repr(imported)])
    assert "hunter2" not in shown
    assert "sk-abcdefgh" not in shown
    hidden = imported.secret_objects(None, placeholders=True)
    assert hidden[1]["stringData"] == {"Authorization": PLACEHOLDER}
    assert imported.secret_objects("n", placeholders=False)[1]["stringData"] == {"Authorization": "Bearer hunter2"}


@pytest.mark.parametrize(
    ("args", "shown", "held"),
    [
        (["--api-key", "hunter2"], ["--api-key", "$(API_KEY)"], {"API_KEY": "hunter2"}),
        (["--api-key=hunter2"], ["--api-key=$(API_KEY)"], {"API_KEY": "hunter2"}),
        (
            ["--header", "Authorization: Bearer x"],
            ["--header", "Authorization: $(AUTHORIZATION)"],
            {"AUTHORIZATION": "Bearer x"},
        ),
        (["postgres://u:hunter2@db/x"], ["$(CREDENTIAL)"], {"CREDENTIAL": "postgres://u:hunter2@db/x"}),
        (["--token", "--verbose"], ["--token", "--verbose"], {}),
        (["https://x/y", "a:b", "--max-tokens", "12"], ["https://x/y", "a:b", "--max-tokens", "12"], {}),
        (["${API_KEY}"], ["$(API_KEY)"], {"API_KEY": PLACEHOLDER}),
        (["--url=https://${input:host}/x"], ["--url=https://$(HOST)/x"], {"HOST": PLACEHOLDER}),
    ],
)
def test_credentials_in_arguments_become_variables(args: list[str], shown: list[str], held: dict[str, str]) -> None:
    imported = one({"command": "npx", "args": args})
    stdio = imported.servers[0]["spec"]["stdio"]
    assert stdio["args"] == shown
    assert imported.secrets.get("one-credentials", {}) == held
    assert [variable["name"] for variable in stdio.get("env", [])] == list(held)
    assert not any("hunter2" in note for note in imported.notes)


def test_a_reference_to_a_variable_of_the_entry_stays() -> None:
    stdio = spec({"command": "npx", "args": ["x", "${REGION}"], "env": {"REGION": "eu"}})["stdio"]
    assert stdio["args"] == ["x", "${REGION}"]


def test_what_the_client_fills_in_is_a_placeholder_also_among_the_values() -> None:
    imported = one({"url": "https://x/mcp", "headers": {"X-Who": "${env:USER}"}})
    assert imported.secrets == {"one-credentials": {"X-Who": PLACEHOLDER}}
    assert imported.notes == [
        "one: headers.X-Who is filled in by the client: write the value into the Secret one-credentials"
    ]


def test_kubernetes_expands_nothing_that_was_meant_as_it_stands() -> None:
    stdio = spec({"command": "x", "args": ["$(A)", "$$", "$HOME", "a$"], "env": {"A": "$(B)"}})["stdio"]
    assert stdio["args"] == ["$$(A)", "$$$", "$HOME", "a$"]
    assert stdio["env"] == [{"name": "A", "value": "$$(B)"}]


def test_a_password_in_a_url_becomes_a_header() -> None:
    imported = one({"url": "https://me:hun%40ter2@x.example.com:8443/mcp"})
    remote = imported.servers[0]["spec"]["remote"]
    assert remote["url"] == "https://x.example.com:8443/mcp"
    (value,) = imported.secrets["one-credentials"].values()
    assert base64.b64decode(value.removeprefix("Basic ")) == b"me:hun@ter2"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"command": "cmd", "args": ["/c", "npx", "-y", "a"]}, {"stdio": {"command": "npx", "args": ["-y", "a"]}}),
        ({"command": "C:\\nodejs\\npx.cmd", "args": ["a"]}, {"stdio": {"command": "npx", "args": ["a"]}}),
        ({"command": "/opt/homebrew/bin/uvx", "args": ["a"]}, {"stdio": {"command": "uvx", "args": ["a"]}}),
        ({"command": "npx -y 'a b'"}, {"stdio": {"command": "npx", "args": ["-y", "a b"]}}),
        (
            {"command": {"path": "npx", "args": ["a"], "env": {"B": "c"}}},
            {"stdio": {"command": "npx", "args": ["a"], "env": [{"name": "B", "value": "c"}]}},
        ),
        (
            {"command": "npx", "args": ["-y", "mcp-remote@latest", "https://x/sse"]},
            {"remote": {"url": "https://x/sse"}},
        ),
        (
            {"command": "npx", "args": ["mcp-remote", "https://x/sse", "--transport", "sse-only"]},
            {"remote": {"url": "https://x/sse", "transport": "sse"}},
        ),
    ],
)
def test_what_is_wrapped_around_a_server_is_taken_off(entry: Body, expected: Body) -> None:
    assert spec(entry) == expected
    assert one(entry).notes or isinstance(entry["command"], dict)


def test_headers_of_mcp_remote() -> None:
    args = ["-y", "mcp-remote", "https://x/mcp", "--header", "Authorization:${AUTH}", "--allow-http"]
    imported = one({"command": "npx", "args": args, "env": {"AUTH": "Bearer hunter2"}})
    (header,) = imported.servers[0]["spec"]["remote"]["headers"]
    assert header["valueFrom"]["secretKeyRef"]["key"] == "Authorization"
    assert imported.secrets == {"one-credentials": {"Authorization": "Bearer hunter2"}}
    assert "one: an argument of mcp-remote is left out" in imported.notes


TOLD = {
    "an unknown field": ({"command": "x", "colour": 1}, "one: unknown field colour: left out"),
    "cwd": ({"command": "npx", "cwd": "/tmp/x"}, "one: cwd is left out: a pod has no such folder"),
    "timeout": ({"command": "npx", "timeout": 60}, "one: timeout is left out, as clients disagree"),
    "autoApprove": ({"command": "npx", "autoApprove": ["*"]}, "one: autoApprove is for the client"),
    "excludeTools": (
        {"command": "npx", "excludeTools": ["a"]},
        "one: excludeTools is left out: hide tools by an McpRoute",
    ),
    "env of a url": ({"url": "https://x/mcp", "env": {"A": "b"}}, "one: env is left out"),
    "a header of the transport": (
        {"url": "https://x/mcp", "headers": {"Content-Type": "a"}},
        "one: the header Content-Type is left out",
    ),
    "a null": ({"command": "npx", "env": {"A": None}}, "one: env.A is null: left out"),
    "a local file": ({"command": "npx", "args": ["/Users/me/x"]}, "one: names a file of this machine"),
    "a foreign program": ({"command": "mytool"}, "one: its command must be in the runner image"),
    "a credential in a query": (
        {"url": "https://x/mcp?api_key=hunter2"},
        "one: its url holds what looks like a credential, IN THE MANIFEST",
    ),
}


@pytest.mark.parametrize(("entry", "says"), TOLD.values(), ids=TOLD)
def test_what_is_told(entry: Body, says: str) -> None:
    imported = one(entry)
    assert any(note.startswith(says) for note in imported.notes), imported.notes
    assert len(imported.servers) == 1
    assert not any("hunter2" in note for note in imported.notes)


def test_a_plain_entry_needs_no_word() -> None:
    assert one({"type": "stdio", "command": "uvx", "args": ["mcp-server-time"]}, "time").notes == []


def test_a_new_name_is_told_as_it_begins_the_names_of_tools() -> None:
    imported = convert({"My Server": {"command": "npx"}, "my_server": {"command": "npx"}}, proxy="tools")
    assert [body["metadata"]["name"] for body in imported.servers] == ["my-server", "my-server-2"]
    assert imported.notes[0] == "My Server: the McpServer is called my-server, and so begin the names of its tools"


def test_disabled_ones() -> None:
    entries = {"a": {"command": "npx", "disabled": True}, "b": {"command": "npx", "enabled": False}}
    without = convert(entries, proxy="tools")
    assert (without.servers, without.proxy) == ([], None)
    assert without.notes == ["a: disabled: left out", "b: disabled: left out"]
    assert len(convert(entries, proxy="tools", with_disabled=True).servers) == 2


REFUSED = {
    "no object": (3, "must be an object"),
    "neither": ({}, "needs exactly one of command (a program) and url (a server to reach): it has neither"),
    "both": ({"command": "x", "url": "https://x"}, "it has both"),
    "docker": ({"command": "docker", "args": ["run", "-i", "mcp/github"]}, "runs docker, which a pod can't"),
    "args no list": ({"command": "x", "args": "y"}, "args a list of strings"),
    "env no object": ({"command": "x", "env": ["A=b"]}, "env must be an object"),
    "a nested value": ({"command": "x", "env": {"A": {"b": "hunter2"}}}, "env.A must be a string"),
    "a type that does not fit": ({"command": "x", "type": "sse"}, "its type is that of a server with a url"),
    "another that does not": ({"url": "https://x/mcp", "type": "stdio"}, "has a url, but its type is stdio"),
    "an unknown type": ({"url": "https://x/mcp", "type": "carrier-pigeon"}, "type must be one of"),
    "no URL": ({"url": "hunter2"}, "spec.remote"),
    "a URL that is filled in": ({"url": "https://${HOST}/mcp"}, "its url holds ${…}"),
    "mcp-remote without a URL": ({"command": "npx", "args": ["mcp-remote"]}, "runs mcp-remote without a URL"),
    "an impossible variable": ({"command": "x", "env": {"A B": "c"}}, "spec.stdio.env.0.name"),
    "an open quote": ({"command": "npx 'a"}, "command must be one program"),
    "an empty command": ({"command": " "}, "command is empty"),
}


@pytest.mark.parametrize(("entry", "says"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_imported_is_refused_alone(entry: object, says: str) -> None:
    imported = convert({"bad": entry, "good": {"command": "npx"}}, proxy="tools")
    (refused,) = imported.refused
    assert refused.startswith("bad: ")
    assert says in refused
    assert "hunter2" not in refused
    assert [body["metadata"]["name"] for body in imported.servers] == ["good"]
    assert imported.secrets == {}
