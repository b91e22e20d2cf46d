"""Lists of streamable-HTTP servers without the MCP client library: prepared bytes, and as few steps as that takes.

The library's session costs 3-5 ms of CPU for each server that is looked at, which counts where a thousand come at once. What
is not plainly as expected is `Unplain`: the library's session is asked then, and says what is wrong.
"""
