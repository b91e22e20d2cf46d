"""Asks servers and proxies how they are, as their clients would: probes over MCP, the replicas' own `/status`.

`facts` and `state` and `replica` are pure; `mcp` and `status` do the I/O; `prober` and `replicas` keep asking.
"""
