"""`hack/stores`: the programs of the stores that the unit tests start, from Debian's packages."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import debian

SETTINGS = Path("/etc/postgresql-common/createcluster.d/mcp-operator.conf")
NO_CLUSTER = "# Written by mcp-operator while it installs packages.\ncreate_main_cluster = false\n"
POSTGRES = "/usr/lib/postgresql/*/bin/initdb"
"""Where Debian keeps the server's programs, by version and outside PATH."""


def packages(postgres: str = POSTGRES) -> dict[str, str]:
    """What shows that a package is there, by package."""
    return {"redis-server": "redis-server", "postgresql": "initdb" if debian.installed("initdb") else postgres}


def main() -> int:
    """Install what is missing. PostgreSQL's package makes no database of its own."""
    return debian.command(packages(), lambda: no_database(SETTINGS))


@contextmanager
def no_database(settings: Path) -> Iterator[None]:
    """Keep the package from making a cluster of databases meanwhile (pg_createcluster(1), createcluster.conf)."""
    if os.geteuid() == 0:
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(NO_CLUSTER)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            settings.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
