"""Definitions of tools that somebody has approved: what counts of a definition, what differs, and what is not approved."""
