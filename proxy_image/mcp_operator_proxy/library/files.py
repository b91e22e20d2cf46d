"""Configs in files: read, and followed while they change."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from watchfiles import awatch

from mcp_operator_proxy.backends.http import BadCABundle, ssl_context
from mcp_operator_proxy.library.document import Document
from mcp_operator_proxy.library.errors import ConfigError, Problem

logger = logging.getLogger(__name__)
MAX_BYTES: Final = 16 * 1024 * 1024
POLL_SECONDS: Final = 1.0
"""The file is looked at this often even if nothing is heard of it."""


def read(path: Path) -> Any:
    """The content of a JSON or YAML file. Raises ConfigError."""
    source = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], source) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem("", "is not UTF-8 text")], source) from None
    if len(content) > MAX_BYTES:
        raise ConfigError([Problem("", f"is larger than {MAX_BYTES} bytes")], source)
    try:
        return _parse(text, is_json=path.suffix == ".json" or text.lstrip().startswith("{"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError([Problem("", f"is not JSON: {error.msg} ({where})")], source) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise ConfigError([Problem("", f"is not YAML{where}")], source) from None


def _parse(text: str, *, is_json: bool) -> Any:
    return json.loads(text) if is_json else yaml.safe_load(text)


def ca_bundles(document: Document, source: str) -> Mapping[str, str]:
    """The contents of all `caFile`s. Raises ConfigError."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for name, spec in document.servers.items():
        if spec.ca_file is None or spec.ca_file in found:
            continue
        path = f"{document.key}.{name}"
        try:
            text = Path(spec.ca_file).expanduser().read_text("utf-8")
            ssl_context(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            problems.append(Problem(f"{path}.caFile", f"cannot be read: {reason}"))
        except BadCABundle as error:
            problems.append(Problem(f"{path}.caFile", f"is {error}"))
        else:
            found[spec.ca_file] = text
    if problems:
        raise ConfigError(problems, source)
    return found


async def changes(path: Path) -> AsyncIterator[None]:
    """Yield at once, as it may have changed since it was read, and whenever it has changed.

    Its folder is watched, as editors replace files by renaming.
    """
    folder, name = path.parent, path.name
    seen = _stamp(path)
    yield
    while True:
        try:
            async for _ in awatch(
                folder,
                watch_filter=lambda _, changed: Path(changed).name == name,
                debounce=100,
                step=10,
                rust_timeout=int(POLL_SECONDS * 1000),
                yield_on_timeout=True,
                recursive=False,
            ):
                now = _stamp(path)
                if now != seen:
                    seen = now
                    yield
        except (OSError, RuntimeError) as error:
            logger.debug("cannot watch the config's folder, it is polled: %s", type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
