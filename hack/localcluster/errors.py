"""The one error that reaches the user as a message instead of a traceback."""


class ClusterError(Exception):
    """Something the user can act on; `str()` says what happened and what to do."""
