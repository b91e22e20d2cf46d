import sys

from mcp_operator_proxy.bridge.cli import main

sys.exit(main(sys.argv[1:]))
