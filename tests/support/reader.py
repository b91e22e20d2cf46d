"""Somebody who copies commands from the documents.

The reader has a folder with the repository's charts, crds and examples and with the files that the pages show, a kubeconfig whose
namespace is the reader's, and `mcp-operator` on PATH.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from support.documents import BLOCKS, NOT_RUN, ROOT, Block

SECONDS = 270.0
"""No command takes longer."""


def lines(*blocks: Block) -> list[str]:
    """The commands of these blocks that can be run, each whole (with the here-document that it reads, and without its comment)."""
    found: list[str] = []
    for block in blocks:
        text = block.commands.replace("\\\n", " ")
        if "<<EOF" in text or re.search(r"^(?:for|while)\b|\| while\b", text, re.MULTILINE):
            found += re.findall(
                r"^.*<<EOF\n.*?^EOF$|^[^\n]*\bwhile\b.*?^done$|^[^\n]+$", text, re.MULTILINE | re.DOTALL
            )
        else:
            found += text.splitlines()
    stripped = [line if "\n" in line else line.partition(" #")[0].strip() for line in found]
    return [line for line in stripped if line and not any(re.match(known, f"{line} ") for known in NOT_RUN)]


class Reader:
    """Runs commands by bash. `replaced` (regular expression → text) is what a test has instead of what lies outside of it."""

    def __init__(
        self, folder: Path, namespace: str, kubeconfig: str, replaced: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.replaced = replaced or {}
        for name in ("charts", "crds", "examples"):
            (folder / name).symlink_to(ROOT / name)
        config = folder / "kubeconfig"
        config.write_text(kubeconfig)
        config.chmod(0o600)
        self._programs = folder / "bin"
        self._programs.mkdir()
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "KUBECONFIG": str(config), "PATH": path, "REGISTRY": ""}
        self.program("mcp-operator", f'exec {sys.executable} -m mcp_operator "$@"')
        self.run(f"kubectl config set-context --current --namespace={namespace}")

    def program(self, name: str, script: str) -> None:
        """Put a program on the reader's PATH, before those of the machine; `{real}` in the script is the machine's."""
        path = self._programs / name
        path.write_text("#!/bin/sh\n" + script.replace("{real}", shutil.which(name) or name) + "\n")
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """A text with what lies outside of the test replaced."""
        for pattern, instead in self.replaced.items():
            text = re.sub(pattern, instead, text)
        return text

    def manifests(self, *pages: str) -> Iterator[dict[str, Any]]:
        """The resources that these pages show, but those that a comment says to be something else."""
        for block in BLOCKS:
            if block.page in pages and block.language == "yaml" and not block.test and "apiVersion:" in block.text:
                yield from (body for body in yaml.safe_load_all(self.here(block.text)) if body)

    def write(self, *pages: str) -> None:
        """The files whose content stands on these pages."""
        for block in BLOCKS:
            if block.file and block.page in pages:
                (self.folder / block.file).write_text(self.here(block.text))

    def attempt(self, script: str, *, folder: str = ".") -> subprocess.CompletedProcess[str]:
        """Run commands, which end at the first that fails."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=self.folder / folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def run(self, script: str, *, codes: tuple[int, ...] = (0,), folder: str = ".") -> str:
        """The same; what they print, as they must end well (by one of the codes)."""
        done = self.attempt(script, folder=folder)
        assert done.returncode in codes, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, command: str, says: str) -> Iterator[None]:
        """Run a command that goes on until it is interrupted, from where it has said something on standard output."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout
        try:
            said = ""
            for line in process.stdout:
                said += line
                if says in line:
                    break
            else:
                raise AssertionError(f"{command} has ended: {said}")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)
