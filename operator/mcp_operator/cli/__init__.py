"""The command `mcp-operator`: one file a subcommand."""
