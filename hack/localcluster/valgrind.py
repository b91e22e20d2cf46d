"""`hack/valgrind`: what counts instructions, from Debian's package."""

import sys

from localcluster import debian

PACKAGES = {"valgrind": "valgrind"}
"""The command that shows that the package is there, by package."""

if __name__ == "__main__":
    sys.exit(debian.command(PACKAGES))
