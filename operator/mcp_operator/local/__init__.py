"""The same manifests on one machine, without a cluster: what `mcp-operator local` runs.

    files ─▶ documents ─▶ manifests ─▶ catalogue (last good of each) ─▶ hosting: a supervised process per hosted server
                                            │                              gateway: a proxy process per McpProxy
                                            └─▶ compile ─▶ config folder, swapped in one step
    probes, the processes and the proxies' own `/status` ─▶ conditions ─▶ table

Nothing here imports the Kubernetes client: the command works without the extra `operator`.
"""
