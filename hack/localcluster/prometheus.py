"""`hack/prometheus`: the Prometheus and promtool that tests of alerts and dashboards start, from Debian's package."""

import sys

from localcluster import debian

PACKAGES = {"prometheus": "promtool"}
"""The package brings both programs."""

if __name__ == "__main__":
    sys.exit(debian.command(PACKAGES))
