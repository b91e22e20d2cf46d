"""What all parts of the configuration are made of."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Final, Self

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, StringConstraints, UrlConstraints, model_validator
from pydantic.alias_generators import to_camel

CONFIG_FILE: Final = "config.json"
WANTED_FILE: Final = "wanted-revision"
"""Beside it, where the operator writes it: the revision that this pod should run."""
SECRETS_DIR: Final = ""
"""Folder of the secret files, relative to that of `config.json`: the same one (a projected volume can't nest unnamed keys)."""
CONFIG_VERSION: Final = "mcp-operator.dev/proxy-config/v1"

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
SERVER_ID: Final = r"^[a-z0-9.-]+/[a-z0-9.-]+$"
NAME: Final = r"^[A-Za-z0-9._@-]{1,128}$"
"""Of a caller, a provider, an issuer: what is written into logs and metrics."""

BackendUrl = Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["http", "https"], max_length=2048)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
CallerName = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,384}$")]
"""Of an API key, or `ISSUER/NAME` of a token."""


class ConfigModel(BaseModel):
    """camelCase on the wire, immutable, and no unknown field: a misspelt key is an error, not a silence."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class SecretRef(ConfigModel):
    """A value that stands in `<file>` of the config folder (UTF-8, one trailing newline is dropped)."""

    file: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> Self:
        taken = self.file in {".", "..", WANTED_FILE} or self.file.startswith(CONFIG_FILE)
        if taken or PurePosixPath(self.file).name != self.file:
            raise ValueError(f"a secret file is a plain file name other than {CONFIG_FILE}")
        return self


class Header(ConfigModel):
    """One HTTP header sent with every request to a backend: a literal `value` or a `secret`."""

    name: Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=256)]
    value: Annotated[str, StringConstraints(pattern=r"^[^\r\n\x00]*$", max_length=8192)] | None = None
    secret: SecretRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.secret is None):
            raise ValueError("a header has exactly one of value and secret")
        return self


def duplicates(values: Iterable[str]) -> list[str]:
    """Those that come more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
