"""`hack/prometheus`: the Prometheus and promtool that tests of alerts and dashboards start, from Debian's package."""

import os
import sys

from localcluster import debian
from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from localcluster.progress import say

PACKAGES = {"prometheus": "promtool"}
"""The package brings both programs."""


def main() -> int:
    """Install what is missing. No service is started."""
    try:
        debian.ensure(PACKAGES, from_environment(os.environ).cache)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
