"""The configuration files of desktop clients (`mcpServers`), turned into manifests. Pure."""
