"""The settings of the operator that runs in a cluster, read from its Deployment: a plan with others would be wrong."""

import argparse
import contextlib
import io
from collections.abc import Mapping
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.app.options import Options, add_flags, read
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Forbidden
from mcp_operator.kube.paths import built_in

_OWN_NAMESPACE: Final = "$(POD_NAMESPACE)"
"""How the chart writes it; the kubelet fills it in."""
SELECTOR: Final = f"{meta.LABEL_NAME}=mcp-operator"


async def installed(kube: KubeClient) -> Options | None:
    """Options of the operator's process; None where there is none, or it may not be looked for."""
    try:
        listing = await kube.list(built_in("Deployment").path(), label_selector=SELECTOR)
    except Forbidden:
        return None
    found = (options_of(deployment) for deployment in listing.items)
    return next((options for options in found if options is not None), None)


def options_of(deployment: Mapping[str, Any]) -> Options | None:
    """Options of the container that runs `mcp-operator run`; None where there is none or they can't be read. Pure."""
    for container in deployment["spec"]["template"]["spec"].get("containers") or ():
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        if "run" not in words[:2] or not words[0].endswith("mcp-operator"):
            continue
        words = [word.replace(_OWN_NAMESPACE, deployment["metadata"].get("namespace", "")) for word in words]
        environ = {variable["name"]: variable.get("value") or "" for variable in container.get("env") or ()}
        parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        add_flags(parser, environ)
        with (
            contextlib.suppress(argparse.ArgumentError, ValueError, SystemExit),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            return read(parser.parse_known_args(words[words.index("run") + 1 :])[0])
    return None
