"""What the proxy is started with: a folder whose `config.json` is a ProxyConfig or the `mcpServers` of desktop clients, and the
environment, which is laid over it (`envsettings`)."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mcp_operator_proxy.config import CONFIG_FILE, ProxyConfig
from mcp_operator_proxy.envsettings import BadSetting, Overlay, applied, servers_of, wanted
from mcp_operator_proxy.swap.read import Snapshot, read_folder
from mcp_operator_proxy.swap.validate import ConfigRejected, parse
from mcp_operator_proxy.swap.words import describe

_EMPTY: Final = b'{"mcpServers": {}}'


@dataclass(frozen=True)
class Given:
    """`salt` keys the revisions that are made here: the same in all workers of one start."""

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def check(self) -> None:
        """Raises BadSetting, before anything else is looked at."""
        applied(self.environ, {"rest": {}, "stores": {"encryptionKeys": [{}]}})

    def read(self, folder: Path) -> Snapshot:
        """The folder; one without a file is as good as an empty one where the environment names the servers. Raises ConfigRejected."""
        if self.environ.get("MCP_SERVERS", "").strip() and not (folder / CONFIG_FILE).exists():
            return Snapshot(_EMPTY, {})
        return read_folder(folder)

    def of(self, snapshot: Snapshot) -> tuple[ProxyConfig, Mapping[str, str]]:
        """The configuration and its secrets. Raises ConfigRejected."""
        data = _object(snapshot.config)
        if data is None or ("mcpServers" not in data and not wanted(self.environ) and "revision" in data):
            return parse(snapshot.config), snapshot.secrets
        try:
            return self._laid_over(data, dict(snapshot.secrets))
        except BadSetting as error:
            raise ConfigRejected(str(error)) from None

    def _laid_over(self, data: dict[str, Any], found: dict[str, str]) -> tuple[ProxyConfig, Mapping[str, str]]:
        if "mcpServers" in data:
            data, of_servers = _compiled(self._with_servers(data), self.environ, self.salt)
            found |= of_servers
        overlay = applied(self.environ, data)
        found |= overlay.secrets
        data = overlay.data
        if "revision" not in data:
            text = json.dumps([data, found], sort_keys=True)
            data["revision"] = hmac.new(self.salt, text.encode(), hashlib.sha256).hexdigest()[:16]
        try:
            return ProxyConfig.model_validate(data), found
        except ValidationError as error:
            revision = data["revision"] if isinstance(data["revision"], str) else None
            raise ConfigRejected(_named(error, overlay), revision) from None

    def _with_servers(self, data: dict[str, Any]) -> dict[str, Any]:
        more = servers_of(self.environ)
        return data if more is None or data["mcpServers"] else {**data, "mcpServers": more}


NOTHING: Final = Given()
"""A folder alone."""


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _compiled(
    data: dict[str, Any], environ: Mapping[str, str], salt: bytes
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Of `mcpServers`. What a server does not say is left out, so that the environment can say it."""
    from mcp_operator_proxy.library.compile import Options, compile_document  # noqa: PLC0415 - only who writes it so
    from mcp_operator_proxy.library.errors import ConfigError  # noqa: PLC0415
    from mcp_operator_proxy.library.files import ca_bundles  # noqa: PLC0415
    from mcp_operator_proxy.library.parse import parse as parse_document  # noqa: PLC0415

    try:
        document = parse_document(data, environ, CONFIG_FILE)
        bundles = ca_bundles(document, CONFIG_FILE)
    except ConfigError as error:
        raise ConfigRejected(str(error)) from None
    served = set(document.servers)
    options = Options(access_log=True)
    compiled = compile_document(document, options, served=served, local=None, ca_bundles=bundles, salt=salt)
    written = compiled.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    written.pop("revision")
    return written, compiled.secrets


def _named(error: ValidationError, overlay: Overlay) -> str:
    """In the words of the variable that wrote it, where one did."""
    for problem in error.errors(include_url=False, include_input=False):
        path = tuple(str(part) for part in problem["loc"])
        for length in range(len(path), 0, -1):
            if (variable := overlay.places.get(path[:length])) is not None:
                return f"{variable}: {describe(error)}"
    return describe(error)
