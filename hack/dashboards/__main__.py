"""`make dashboards`: write charts/mcp-operator/dashboards."""

import json
import sys
from pathlib import Path
from typing import Final

from dashboards.operator import operator
from dashboards.proxies import proxies
from dashboards.servers import servers
from dashboards.swaps import swaps

FOLDER: Final = Path(__file__).parents[2] / "charts" / "mcp-operator" / "dashboards"


def texts() -> dict[str, str]:
    """The JSON of each dashboard by its file's name."""
    return {
        f"{body['uid']}.json": json.dumps(body, indent=1) + "\n" for body in (servers(), proxies(), operator(), swaps())
    }


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
