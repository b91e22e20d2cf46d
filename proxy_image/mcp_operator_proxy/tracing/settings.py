"""Where traces go, with the headers filled in from the secrets. Pure, but that it loads the libraries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import header_value, installed

TRACES_PATH: Final = "/v1/traces"
"""OTLP/HTTP: beneath the base URL of the collector."""


@dataclass(frozen=True)
class TracingSettings:
    """Of `ProxyConfig.tracing`; `url` is that of the traces."""

    url: str
    sample_ratio: float = 1.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service_name: str | None = None


def tracing_settings(config: ProxyConfig, secrets: Mapping[str, str]) -> TracingSettings | None:
    """None where nothing is traced.

    Raises:
        SecretMissing: a header's secret file is not there.
        ConfigRejected: a header cannot be sent, or the libraries are not installed.
    """
    wanted = config.tracing
    if wanted is None:
        return None
    installed("tracing", ("opentelemetry", "opentelemetry.sdk", "opentelemetry.proto"), config.revision, "tracing")
    import_module("mcp_operator_proxy.tracing.export")  # takes a while: not in the loop that answers calls
    headers = {
        header.name: header_value(header, secrets, f"tracing.headers[{index}]", config.revision)
        for index, header in enumerate(wanted.headers)
    }
    return TracingSettings(traces_url(str(wanted.endpoint)), wanted.sample_ratio, headers, wanted.service_name)


def traces_url(endpoint: str) -> str:
    """OTLP specification, "Endpoint URLs for OTLP/HTTP": the base URL and the path of traces, which may stand there already."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH
