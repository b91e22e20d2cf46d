"""`python -m mcp_operator`"""

import sys

from mcp_operator.cli.main import main

sys.exit(main())
