"""Read a configuration folder in one consistent look.

The kubelet swaps a projected volume by renaming the symlink `..data`; everything is read through one resolution of
it. A folder that people edit has no such link: it is read until two looks agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from mcp_operator_proxy.config import CONFIG_FILE, SECRETS_DIR, WANTED_FILE
from mcp_operator_proxy.configfiles import Damaged, Incomplete, unpack
from mcp_operator_proxy.secretfiles import secret_files
from mcp_operator_proxy.swap.validate import ConfigRejected, NotThereYet

MAX_SECRET: Final = 1024 * 1024
MAX_WANTED: Final = 1024
LOOKS: Final = 5


@dataclass(frozen=True)
class Snapshot:
    """What the folder held: the configuration's JSON, and the secrets that it refers to by file name."""

    config: bytes
    secrets: dict[str, str]
    wanted: str | None = field(default=None, compare=False)
    """The revision that the operator asks of this pod; empty while it has not said, None where nobody asks."""

    def __repr__(self) -> str:
        return f"Snapshot({len(self.config)} bytes, {len(self.secrets)} secrets)"


def read_folder(folder: Path) -> Snapshot:
    """Raises ConfigRejected where it cannot be read, or does not hold still."""
    before = _look(folder)
    for _ in range(LOOKS):
        after = _look(folder)
        if after == before:
            return after
        before = after
    raise ConfigRejected(f"{CONFIG_FILE} and its secrets are being changed all the time")


def _look(folder: Path) -> Snapshot:
    data = folder / "..data"
    root = data.resolve() if data.is_symlink() else folder
    try:
        config = unpack(partial(_read, root))
    except FileNotFoundError:
        raise ConfigRejected(f"there is no {CONFIG_FILE} in {folder}") from None
    except Incomplete as error:
        raise NotThereYet(str(error), error.revision) from None
    except Damaged as error:
        raise ConfigRejected(str(error)) from None
    return Snapshot(config, dict(_secrets(root / SECRETS_DIR, secret_files(config))), _wanted(root))


def _wanted(root: Path) -> str | None:
    """The pod's annotation: a revision, and after a `+` how often it was said again."""
    try:
        text = _read(root, WANTED_FILE, MAX_WANTED).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    return text.strip().partition("+")[0]


def _secrets(folder: Path, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in sorted(names):
        try:
            yield name, _read(folder, name, MAX_SECRET).decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise ConfigRejected(f"the secret file {name} is not UTF-8 text") from None
        except FileNotFoundError:
            continue


def _read(folder: Path, name: str, limit: int) -> bytes:
    path = folder / name
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigRejected(f"{path.name} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise ConfigRejected(f"{path.name} is larger than {limit} bytes")
    return content
