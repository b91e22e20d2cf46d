"""Protocol versions, oldest first: those that open with the `initialize` handshake, and those that need none.

The same as `mcp_types.version`, whose import costs a bridge 20 MiB; a test compares them.
"""

from typing import Final

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_HANDSHAKE: Final = HANDSHAKE_VERSIONS[-1]
MODERN_VERSIONS: Final = ("2026-07-28",)
