"""Runs a health script as Argo CD does: Lua 5.1, `obj` given, without the libraries that it leaves out.

Source: `util/lua` of Argo CD: base, table, package and a part of os; the script returns a table of status and message.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from localcluster import debian

INTERPRETERS: Final = ("lua5.1", "luajit", "lua5.3", "lua5.4", "lua")
"""In the order of their likeness to Argo CD's."""
_WITHOUT: Final = """
string, math, io, debug, coroutine, utf8, bit = nil, nil, nil, nil, nil, nil, nil
do local strings = getmetatable("") if strings then strings.__index = nil end end
"""


def interpreter(cache: Path) -> str:
    """A Lua; it is installed where that can be done."""
    found = next((name for name in INTERPRETERS if shutil.which(name)), None)
    if found is None:
        debian.ensure({"lua5.1": "lua5.1"}, cache)
        found = "lua5.1"
    return found


def health(lua: str, script: str, body: dict[str, Any]) -> dict[str, str]:
    """What the script says of an object. Its errors are AssertionErrors."""
    program = (
        "local write, string_format = io.write, string.format\n"
        f"obj = {literal(body)}\n{_WITHOUT}\n"
        f"local result = (function()\n{script}\nend)()\n"
        'assert(type(result) == "table", "the script returned no table")\n'
        'write(string_format("%q\\n%q\\n", result.status, result.message))\n'
    )
    done = subprocess.run([lua, "-"], input=program, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    status, message = done.stdout.replace("\\\n", "\\n").splitlines()
    return {"status": json.loads(status), "message": json.loads(message)}


def literal(value: Any) -> str:
    """A value of JSON as a Lua expression."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(map(_character, value.encode())) + '"'
        case dict():
            return "{" + ", ".join(f"[{literal(key)}] = {literal(item)}" for key, item in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(literal, value)) + "}"
        case _:
            return str(value)


def _character(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}"
