"""How package clients are set up on this machine, handed to a build as mounted files.

A Dockerfile names none of it, so the same file works on a machine without such settings. Nothing of it stays in the image
but, at most, an empty file to mount on.
"""

import ast
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs")
BUNDLE = "ca-certificates.crt"
LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "find-links", "timeout", "default-timeout")
PIP_SOURCES_OF_PACKAGES = ("index-url", "extra-index-url", "find-links")
APT_SETTINGS = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date")


@dataclass(frozen=True)
class Mount:
    """A host path that RUN steps see at `target`."""

    source: Path
    target: str
    writable: bool = False

    def option(self) -> str:
        """The value of buildah's --volume."""
        return f"{self.source}:{self.target}" + ("" if self.writable else ":ro")


def parse_pip_settings(listing: str) -> dict[str, str]:
    """The output of `pip config list` as settings; those of the environment win over those of files."""
    settings: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if separator and section in {"global", "install", ":env:"}:
            target = from_environment if section == ":env:" else settings
            target[key] = str(ast.literal_eval(value))
    return {key: value for key, value in {**settings, **from_environment}.items() if key in PIP_SETTINGS}


def drop_empty_folders(settings: Mapping[str, str]) -> dict[str, str]:
    """Without `find-links` folders that hold nothing: a build has no use for them."""
    kept = dict(settings)
    folders = [item for item in kept.pop("find-links", "").split() if "://" in item or _has_entries(Path(item))]
    return {**kept, "find-links": " ".join(folders)} if folders else kept


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def pip_config(settings: Mapping[str, str]) -> str | None:
    """A pip.conf, or None when the machine takes packages from where pip would take them anyway."""
    if not any(key in settings for key in PIP_SOURCES_OF_PACKAGES):
        return None
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items()), ""])


def uv_config(settings: Mapping[str, str]) -> str:
    """A uv.toml: uv trusts the system's authorities only when told, and reads no pip.conf."""
    lines = ["native-tls = true"]
    if "index-url" in settings:
        lines.append(f'index-url = "{settings["index-url"]}"')
    return "\n".join([*lines, ""])


def npm_config(listing: str) -> str | None:
    """An npmrc of the output of `npm config list --json`, or None when it names no registry. Without credentials."""
    try:
        registry = str(json.loads(listing or "{}").get("registry") or "")
    except ValueError:
        return None
    return f"registry={registry}\n" if registry and "@" not in registry else None


def apt_config(dump: str) -> str | None:
    """The lines of `apt-config dump` that decide how packages are reached, or None when there are none."""
    lines = [line for line in dump.splitlines() if line.split(" ")[0] in APT_SETTINGS]
    return "\n".join([*lines, ""]) if lines else None


def certificate_bundle(environment: Mapping[str, str]) -> Path | None:
    """The file of authorities that programs on this machine trust."""
    candidates = [environment.get("SSL_CERT_FILE"), CERTIFICATES / BUNDLE, ssl.get_default_verify_paths().cafile]
    return next((Path(candidate) for candidate in candidates if candidate and Path(candidate).is_file()), None)


def _output(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def mounts(folder: Path, environment: Mapping[str, str]) -> list[Mount]:
    """Write the settings into `folder` (private to one build) and say what to mount where.

    The authorities are a copy that may be written to: installing the package ca-certificates rewrites them.
    """
    found = []
    bundle = certificate_bundle(environment)
    if bundle is not None:
        copy = folder / "certs"
        if CERTIFICATES.is_dir():
            shutil.copytree(CERTIFICATES, copy, symlinks=True)
        copy.mkdir(exist_ok=True)
        (copy / BUNDLE).unlink(missing_ok=True)
        shutil.copyfile(bundle, copy / BUNDLE)
        found.append(Mount(copy, str(CERTIFICATES), writable=True))
    if _has_entries(LOCAL_AUTHORITIES):
        found.append(Mount(LOCAL_AUTHORITIES, str(LOCAL_AUTHORITIES)))
    settings = drop_empty_folders(parse_pip_settings(_output([sys.executable, "-m", "pip", "config", "list"])))
    links = [Path(item) for item in settings.get("find-links", "").split() if "://" not in item]
    texts = {
        "/etc/pip.conf": pip_config(settings),
        "/etc/uv/uv.toml": uv_config(settings),
        "/etc/npmrc": npm_config(_output(["npm", "config", "list", "--json"])),
        "/etc/apt/apt.conf.d/99-machine": apt_config(_output(["apt-config", "dump"])),
    }
    return [*found, *(Mount(link, str(link)) for link in links), *_written(folder, texts)]


def _written(folder: Path, texts: Mapping[str, str | None]) -> list[Mount]:
    written = []
    for target, text in texts.items():
        if text is not None:
            source = folder / Path(target).name
            source.touch(mode=0o600)
            source.write_text(text)
            source.chmod(0o644)
            written.append(Mount(source, target))
    return written
