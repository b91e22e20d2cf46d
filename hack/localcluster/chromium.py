"""`hack/chromium`: the browser of the browser tests, from Debian's packages."""

import sys

from localcluster import debian

PACKAGES = {"chromium": "chromium", "fonts-liberation": "/usr/share/fonts/truetype/liberation*"}
"""What shows that a package is there, by package. A browser without fonts shows boxes."""

if __name__ == "__main__":
    sys.exit(debian.command(PACKAGES))
