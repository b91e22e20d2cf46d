"""Resources in, one `ProxyConfig` per proxy out: pure, deterministic to the byte, no I/O.

`references` finds what a server refers to, `consent` which namespaces it lets route it, `selection` who belongs to a proxy and
`claims` what two of them want, `proxy` puts all together, `held` keeps of a proxy's configuration what can't be had anew.
"""

from mcp_operator.compile.held import with_previous
from mcp_operator.compile.lookup import DataObject, DataObjects
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.proxy import Compiled, compile_proxy
from mcp_operator.compile.references import Resolved, resolve

__all__ = ["Compiled", "DataObject", "DataObjects", "Problem", "Resolved", "compile_proxy", "resolve", "with_previous"]
