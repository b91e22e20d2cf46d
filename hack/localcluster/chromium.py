"""`hack/chromium`: the browser of the browser tests, from Debian's packages."""

import os
import sys

from localcluster import debian
from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from localcluster.progress import say

PACKAGES = {"chromium": "chromium", "fonts-liberation": "/usr/share/fonts/truetype/liberation*"}
"""What shows that a package is there, by package. A browser without fonts shows boxes."""


def main() -> int:
    """Install what is missing."""
    try:
        debian.ensure(PACKAGES, from_environment(os.environ).cache)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
