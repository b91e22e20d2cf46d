"""Where traces of a proxy go, from its resource to its configuration."""

import re

from mcp_operator.api.server import FIELD_VALUE, Header
from mcp_operator.api.tracing import Tracing
from mcp_operator.compile.lookup import Fields
from mcp_operator_proxy import config


def tracing(name: str, wanted: Tracing, fields: Fields) -> config.Tracing | None:
    """None where a header is missing: the collector would take nothing without it."""
    headers = [_header(f"spec.tracing.headers[{index}]", header, fields) for index, header in enumerate(wanted.headers)]
    if None in headers:
        return None
    return config.Tracing.model_validate(
        {
            "endpoint": wanted.endpoint,
            "sample_ratio": float(wanted.sampling_ratio),
            "headers": headers,
            "service_name": wanted.service_name or name,
        }
    )


def _header(where: str, header: Header, fields: Fields) -> config.Header | None:
    if header.value_from is None:
        return config.Header(name=header.name, value=header.value)
    text = fields.text(where, header.value_from)
    if text is None:
        return None
    if not re.fullmatch(FIELD_VALUE, text) or not text.isascii():
        why = f"is no value for the header {header.name}: that is one line of ASCII text without space around it"
        fields.refuse(where, "Secret", header.value_from.secret_key_ref, why)
        return None
    return config.Header(name=header.name, secret=fields.file(where, header.value_from))
