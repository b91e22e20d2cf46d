"""What whoever reaches the proxy may read says nothing of a user, and nothing that a user's own server said."""

import asyncio
import sys
from pathlib import Path

import pytest

from mcp_operator_proxy.backends.status import users_report
from mcp_operator_proxy.report import ErrorClass, ErrorReport, ProcessReport, ServerReport, UnapprovedTool
from support.backends import eventually
from support.gateway import running_gateway

from .setting import configured, keys, modern, signed_in

WORDS = "the diary of ann"
ENDS = f"import sys; sys.stderr.write({WORDS!r}); sys.stderr.flush(); sys.stdin.readline(); sys.exit(3)"


async def test_the_words_of_a_users_process_are_for_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    config = configured({}, ["ann"], personal=())
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data["servers"] = [
        {
            "id": "ns/p",
            "stdio": {"command": sys.executable, "args": [str(script)], "isolation": "user"},
            "credential": {"kind": "userToken", "provider": "corp"},
            "credentialEnv": "TOKEN",
        }
    ]
    data["routes"] = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/p", "prefix": "p"}]}]
    async with running_gateway(type(config).model_validate(data), keys(["ann"])) as gateway:
        await signed_in(gateway, "ann")
        async with modern(gateway, "ann") as ann:
            asking = asyncio.create_task(ann.request("tools/list", {}))
            await eventually(lambda: gateway.proxy.status().notices)
            (server,) = gateway.proxy.status().servers
            assert server.process is not None
            assert server.process.restarts > 0
            for path in ("/status", "/metrics", "/readyz"):
                text = (await gateway.get(path)).text
                assert "ann" not in text, path
                assert "diary" not in text, path
            asking.cancel()
    assert any(WORDS in str(record.__dict__.get("notice")) for record in caplog.records)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("CrashLoop", False), ("NotRunning", False), ("ProtocolError", False), ("NotMCP", False), ("Timeout", True)],
)
def test_the_report_of_users_servers_does_not_quote_them(kind: ErrorClass, kept: bool) -> None:
    process = ProcessReport(state="crash-loop", pid=7, processes=1, restarts=3, exit_code=3, last_error=WORDS)
    error = ErrorReport(error_class=kind, message=WORDS)
    tool = UnapprovedTool(tool="diary of ann", kind="new")
    one = ServerReport(id="ns/p", state="error", error=error, process=process, unapproved=(tool,), tools=("diary",))
    said = users_report("ns/p", [one])
    assert said.error is not None
    assert said.error.error_class == kind
    assert ("diary" in said.model_dump_json()) == kept
    assert said.process is not None
    assert (said.process.restarts, said.process.exit_code) == (3, 3)
