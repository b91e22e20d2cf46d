"""What the interface says of itself. `MCP_OPERATOR_RENEW_GOLDEN=1` writes the golden description anew."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_operator_proxy.config import REST_PATHS, ProxyConfig, within
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.rest.app import make_app
from mcp_operator_proxy.services.rest.openapi import as_3_0, describe
from mcp_operator_proxy.services.rest.problems import BASE, KINDS
from support import golden
from support.gateway import make_config, running_gateway

from .backends import calculator
from .conftest import Rest, problem

GOLDEN = Path(__file__).parents[3] / "golden" / "openapi.yaml"
PAGE = (Path(__file__).parents[4] / "docs" / "rest.md").read_text()


def described() -> dict[str, Any]:
    return describe(make_app(Proxy()), "")


def test_the_description_is_the_golden_one() -> None:
    golden.check(GOLDEN, {**described(), "info": {}})


def _schemas(value: Any) -> list[dict[str, Any]]:
    found = [value] if isinstance(value, dict) else []
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found += _schemas(inner)
    return found


def test_it_is_written_in_the_words_of_3_0() -> None:
    description = described()
    assert description["openapi"] == "3.0.3"
    for schema in _schemas(description):
        assert schema.get("type") != "null", schema
        assert "$ref" not in schema or len(schema) == 1, schema
        for word in ("exclusiveMinimum", "exclusiveMaximum"):
            assert isinstance(schema.get(word, True), bool)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}),
        ({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}, {"allOf": [{"$ref": "#/x"}], "nullable": True}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
        ),
        ({"exclusiveMinimum": 0}, {"minimum": 0, "exclusiveMinimum": True}),
        ({"const": "a"}, {"enum": ["a"]}),
        ([{"anyOf": [{"type": "string"}]}], [{"anyOf": [{"type": "string"}]}]),
    ],
)
def test_what_3_0_writes_otherwise(before: Any, after: Any) -> None:
    assert as_3_0(before) == after


def test_each_operation_has_a_name_and_its_problems() -> None:
    description, seen = described(), set()
    for path, operations in description["paths"].items():
        assert any(within(path, root) for root in REST_PATHS), path
        for operation in operations.values():
            seen.add(operation["operationId"])
            if path == "/health":
                continue
            for status, response in operation["responses"].items():
                assert status == "200" or "application/problem+json" in response["content"], (path, status)
    assert len(seen) == sum(len(operations) for operations in description["paths"].values())


def test_each_type_of_problem_is_explained_once() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", PAGE.partition("## Problems")[2], re.MULTILINE)
    assert sorted((name, int(status)) for name, status in rows) == sorted((kind.name, kind.status) for kind in KINDS)
    assert BASE in PAGE


async def test_the_page_needs_no_other_host_and_no_script_within(serving: Rest) -> None:
    async with serving({}) as gateway:
        page = await gateway.get("/docs")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
        assert "unsafe" not in page.headers["content-security-policy"]
        for script in re.findall(r"<script[^>]*>(.*?)</script>", page.text, re.DOTALL):
            assert script == ""
        assert not re.search(r"\bon\w+=|\bstyle=|<style", page.text)
        named = re.findall(r'(?:src|href|data-url)="([^"]+)"', page.text)
        assert len(named) == 5
        for path in named:
            answer = await gateway.get(path)
            assert answer.status_code == 200, path
            assert path == "/openapi.json" or answer.headers["content-security-policy"], path
        problem(await gateway.get("/docs/index.html"), "not-found")
        problem(await gateway.get("/docs/..%2f__init__.py"), "not-found")


async def test_the_page_can_be_switched_off(serving: Rest) -> None:
    async with serving({}, rest={"docs": False}) as gateway:
        for path in ("/docs", "/docs/swagger-ui.css"):
            problem(await gateway.get(path), "not-found")
        assert (await gateway.get("/openapi.json")).status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "tool_id": st.sampled_from(["calc.add", "calc.divide", "calc.", ".", "ns/calc.add"]) | json_values,
        "parameters": st.dictionaries(st.sampled_from("abc"), json_values, max_size=3) | json_values,
        "user_id": json_values,
        "session_id": json_values,
    },
)


def test_whatever_is_sent_is_answered_with_a_result_or_a_problem() -> None:
    async def serve() -> None:
        async with calculator() as served, running_gateway(make_config({"calc": served.url}, rest={})) as gateway:
            loop = asyncio.get_running_loop()

            async def sent(body: Any) -> None:
                answer = await gateway.http.post(f"{gateway.base}/tools/call", json=body)
                if answer.status_code == 200:
                    parameters = body["parameters"]
                    assert type(parameters["a"]) in (int, float)  # JSON Schema: 1.0 is an integer
                    assert answer.json()["tool_id"] == body["tool_id"]
                else:
                    assert answer.status_code in (403, 404, 422), answer.text
                    problem(answer, answer.json()["type"].removeprefix(BASE))

            @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
            @given(bodies | json_values)
            def check(body: Any) -> None:
                asyncio.run_coroutine_threadsafe(sent(body), loop).result(30)

            await asyncio.to_thread(check)

    asyncio.run(serve())


async def test_the_examples_of_the_page_run() -> None:
    """Each command as it stands in docs/rest.md, by curl."""
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 11
    async with calculator() as served:
        data = make_config({"calc": served.url}, rest={}).model_dump(mode="json", by_alias=True, exclude_unset=True)
        text = json.dumps(data).replace("ns/calc", "default/calc")
        async with running_gateway(ProxyConfig.model_validate_json(text)) as gateway:
            for command in commands:
                process = await asyncio.create_subprocess_shell(
                    command.replace("curl -s", "curl -s --fail-with-body"),
                    env={**os.environ, "URL": gateway.base, "no_proxy": "*"},
                    stdout=asyncio.subprocess.PIPE,
                )
                output, _ = await process.communicate()
                assert process.returncode == 0, (command, output)
                assert json.loads(output), command
