"""While proxies of the version before still run, they read what this operator writes: they must find nothing they don't know.

Resources are those that users had then, stored by the definitions of that version: the examples and the golden cases, less
the fields that are newer. Who uses a newer field while old pods run is told (tests/unit/conditions/test_proxy.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mcp_operator.api.meta import API_VERSION, CATEGORY_KEY
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, parse
from mcp_operator.compile import compile_proxy
from mcp_operator.compile.proxy import to_json
from mcp_operator.compile.servers import cluster_url
from support import golden, manifests, models, previous

Bodies = list[dict[str, Any]]
KEY = b"0" * 64
CASES = sorted((Path(__file__).parent / "golden").glob("*.in.yaml"))


def worlds() -> Iterator[Any]:
    """Manifests with a proxy; an empty proxy, so that what is always written is looked at by itself."""
    for folder in manifests.example_folders():
        files = sorted((manifests.EXAMPLES / folder).rglob("*.yaml"))
        bodies = [body for file in files for body in manifests.documents(file)]
        if any(body["kind"] == "McpProxy" for body in bodies):
            yield pytest.param(bodies, id=folder)
    for case in CASES:
        yield pytest.param(golden.documents(case), id=case.name)


def stored(bodies: Bodies) -> list[McpServer | McpProxy | McpRoute]:
    ours = [body for body in bodies if body["apiVersion"] == API_VERSION]
    return [parse(models.stored(previous.pruned(_without_category(body))), strict=True) for body in ours]


def _without_category(body: models.Body) -> models.Body:
    """A label or annotation by which a server says something new, as a field would: nobody had it before."""
    metadata = {
        name: {key: text for key, text in value.items() if key != CATEGORY_KEY}
        if name in {"labels", "annotations"}
        else value
        for name, value in body["metadata"].items()
    }
    return {**body, "metadata": metadata}


@pytest.mark.parametrize("bodies", [*worlds()])
def test_proxies_of_the_previous_version_read_it(bodies: Bodies) -> None:
    resources = stored(bodies)
    for proxy in (found for found in resources if isinstance(found, McpProxy)):
        compiled = compile_proxy(
            proxy,
            routes=[found for found in resources if isinstance(found, McpRoute)],
            servers=[found for found in resources if isinstance(found, McpServer)],
            objects=models.objects_of(bodies),
            url_of=cluster_url,
            session_key=KEY,
        )
        jsonschema.validate(json.loads(to_json(compiled.config)), previous.config_schema())


def test_what_is_newer_would_be_found() -> None:
    """The previous proxies refuse what they do not know; else the test above could not fail."""
    resource = models.proxy({**PROXY, "spec": {"naming": {"maxLength": 40}}})
    compiled = compile_proxy(resource, routes=[], servers=[], objects={}, url_of=cluster_url)
    with pytest.raises(jsonschema.ValidationError, match="nameBudget"):
        jsonschema.validate(json.loads(to_json(compiled.config)), previous.config_schema())
    assert "maxLength" not in str(previous.pruned({**PROXY, "spec": {"naming": {"maxLength": 40}}}))


PROXY = {"apiVersion": API_VERSION, "kind": "McpProxy", "metadata": {"name": "tools"}}
