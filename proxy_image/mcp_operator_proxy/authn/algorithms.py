"""Algorithms of signatures, as joserfc has them. Imports an extra: see `mcp_operator_proxy.authn.tokens`."""

from functools import lru_cache
from typing import Any, Final

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry

_MAX_HEADER: Final = 4096
"""Bytes: some issuers put a certificate chain in."""


class _One(JWSRegistry):
    """Allows one algorithm, and headers that it does not know (RFC 7515, section 4: to be ignored)."""

    max_header_length = _MAX_HEADER

    def get_alg(self, name: str) -> Any:
        """The library warns of `EdDSA` as a name (RFC 9864), which issuers use nevertheless."""
        if name not in (self.allowed or ()) or name not in self.algorithms:
            raise UnsupportedAlgorithmError("another algorithm than the token's header said")
        return self.algorithms[name]


@lru_cache(maxsize=32)
def only(algorithm: str) -> JWSRegistry:
    """The registry that knows just `algorithm`."""
    return _One(algorithms=[algorithm], strict_check_header=False)
