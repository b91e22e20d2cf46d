"""Pods that are to see changed volumes at once: a change of the pod object makes the kubelet sync it."""

import asyncio
import logging
from collections.abc import Iterable

from mcp_operator.api import meta
from mcp_operator.kube.errors import ApiError, NotFound
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.swaps import Nudge

log = logging.getLogger(__name__)


async def hurry(context: Context, nudges: Iterable[Nudge], annotation: str) -> None:
    """Annotate pods, as well as that can be done: without it the kubelet takes its minute."""
    await asyncio.gather(*(_annotate(context, nudge, annotation) for nudge in nudges))


async def _annotate(context: Context, nudge: Nudge, annotation: str) -> None:
    body = {"metadata": {"annotations": {annotation: nudge.value}}}
    try:
        patched = await context.kube.merge_patch(path_of(nudge.pod), body, field_manager=meta.FIELD_MANAGER)
    except NotFound:
        return
    except ApiError as error:
        log.warning("pod %s is not hurried on: %s", nudge.pod["metadata"]["name"], error)
        return
    context.world.store.observe("Pod", patched)
