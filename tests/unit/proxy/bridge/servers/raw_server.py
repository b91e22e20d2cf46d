"""A stdio MCP server in plain JSON that does on demand whatever a server may do, also what it must not.

`tools/call` names what to do; see the functions at `TOOLS`. Messages received are kept for `received`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

JSON = dict[str, Any]

received: list[JSON] = []
held: dict[str, JSON] = {}
asked: dict[str, object] = {}


def write(message: JSON) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request_id: object, **structured: object) -> None:
    write({"jsonrpc": "2.0", "id": request_id, "result": {"content": [], "structuredContent": structured}})


def notify(method: str, **params: object) -> None:
    write({"jsonrpc": "2.0", "method": method, "params": params})


def echo(message: JSON, arguments: JSON) -> None:
    sys.stderr.write(arguments.get("words", ""))
    sys.stderr.flush()
    answer(message["id"], pid=os.getpid(), **arguments)


def hold(message: JSON, arguments: JSON) -> None:
    held[arguments["key"]] = message
    notify("notifications/resources/updated", uri=f"held://{arguments['key']}")


def release(message: JSON, arguments: JSON) -> None:
    first = held.pop(arguments["key"])
    answer(first["id"], key=arguments["key"])
    answer(message["id"])


def progress(message: JSON, arguments: JSON) -> None:
    token = message["params"].get("_meta", {}).get("progressToken")
    for step in range(arguments["steps"]):
        notify("notifications/progress", progressToken=token, progress=step, message=arguments["text"])
    answer(message["id"], text=arguments["text"])


def say(message: JSON, arguments: JSON) -> None:
    write({"jsonrpc": "2.0", **arguments["message"]})
    answer(message["id"])


def ask(message: JSON, arguments: JSON) -> None:
    asked["question"] = message["id"]
    write({"jsonrpc": "2.0", "id": "question", "method": arguments["method"], "params": {}})


def heard(message: JSON, arguments: JSON) -> None:
    answer(message["id"], received=received)


def garbage(message: JSON, arguments: JSON) -> None:
    for line in arguments["lines"]:
        sys.stdout.buffer.write(line.encode("latin-1"))
    sys.stdout.buffer.flush()
    answer(message["id"])


def big(message: JSON, arguments: JSON) -> None:
    answer(message["id"], text="x" * arguments["size"])


def crash(message: JSON, arguments: JSON) -> None:
    sys.stderr.write(arguments.get("words", ""))
    sys.stderr.flush()
    os._exit(arguments["code"])


def last_words(message: JSON, arguments: JSON) -> None:
    answer(message["id"], text="done")
    os._exit(0)


def killed(message: JSON, arguments: JSON) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def close_stdout(message: JSON, arguments: JSON) -> None:
    """And, with a `code`, end a while later."""
    os.close(1)
    if "code" in arguments:
        time.sleep(0.5)
        os._exit(arguments["code"])


def spawn(message: JSON, arguments: JSON) -> None:
    action = "SIG_IGN" if arguments.get("stubborn") else "SIG_DFL"
    code = f"from signal import *; signal(SIGTERM, {action}); print('up', flush=True); import time; time.sleep(600)"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=arguments.get("detached", False),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    answer(message["id"], child=child.pid, pid=os.getpid())


def deaf(message: JSON, arguments: JSON) -> None:
    """Read nothing until a file is there."""
    answer(message["id"])
    wait_for(Path(arguments["until"]))


def work(message: JSON, arguments: JSON) -> None:
    """Do nothing else until a file is there."""
    wait_for(Path(arguments["until"]))
    answer(message["id"], pid=os.getpid())


def environment(message: JSON, arguments: JSON) -> None:
    answer(message["id"], value=os.environ.get(arguments["name"]))


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


TOOLS = {
    f.__name__: f
    for f in (echo, hold, release, progress, say, ask, heard, garbage, big, crash, last_words, killed, close_stdout)
} | {f.__name__: f for f in (spawn, deaf, work, environment)}


def initialize(message: JSON, options: argparse.Namespace) -> None:
    if options.refuse:
        error = {"code": -32602, "message": "this server is modern only"}
        write({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return
    capabilities = {"tools": {}, "logging": {}, "resources": {"subscribe": True}, "tasks": {"list": {}}}
    result = {
        "protocolVersion": options.protocol_version or message["params"]["protocolVersion"],
        "capabilities": {} if options.bare else capabilities,
        "serverInfo": {"name": "raw", "version": "1"},
    }
    write({"jsonrpc": "2.0", "id": message["id"], "result": result})


def handle(message: JSON, options: argparse.Namespace) -> None:
    received.append(message)
    method = message.get("method")
    if method is None:
        answer(asked.pop(message["id"]), reply=message)
    elif method == "initialize":
        initialize(message, options)
    elif method == "tools/call":
        TOOLS[message["params"]["name"]](message, message["params"].get("arguments", {}))
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        write({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}})
    elif method in {"resources/list", "resources/templates/list"}:
        key = "resources" if method == "resources/list" else "resourceTemplates"
        write({"jsonrpc": "2.0", "id": message["id"], "result": {key: []}})
    elif method in {"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}:
        write({"jsonrpc": "2.0", "id": message["id"], "result": {}})
    elif "id" in message:
        write({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": f"no {method}"}})


def fail_at_first(options: argparse.Namespace) -> None:
    """Exit with code 7 as often as asked, counting in a file."""
    count = Path(options.fail_file)
    times = len(count.read_text()) if count.exists() else 0
    count.write_text("x" * (times + 1))
    if times < options.fail_times:
        sys.stderr.write(f"start {times + 1} fails\n")
        sys.exit(7)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--banner", default="")
    parser.add_argument("--wait-for")
    parser.add_argument("--fail-file")
    parser.add_argument("--fail-times", type=int, default=0)
    parser.add_argument("--protocol-version")
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    options = parser.parse_args()
    if options.fail_file:
        fail_at_first(options)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write(options.banner)
    sys.stdout.flush()
    if options.wait_for:
        wait_for(Path(options.wait_for))
    for line in sys.stdin.buffer:
        handle(json.loads(line), options)
    while options.stubborn:
        time.sleep(60)


main()
