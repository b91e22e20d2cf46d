import errno
import json
import socket
import ssl

import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from mcp_operator_proxy.backends.classify import (
    BackendError,
    HTTPStatusFailure,
    NotMCPFailure,
    StreamEnded,
    classify,
    redact,
)
from mcp_operator_proxy.report import ErrorReport


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


class Model(BaseModel):
    name: int


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"name": "secret-value"})
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(httpx2.ConnectError("x"), socket.gaierror(-2, "Name or service not known")), "DNSFailure"),
        (raised(httpx2.ConnectError("x"), ConnectionRefusedError()), "ConnectionRefused"),
        (raised(OSError("all failed"), ExceptionGroup("g", [ConnectionRefusedError()])), "ConnectionRefused"),
        (httpx2.ConnectError("x"), "Unreachable"),
        (
            ExceptionGroup("g", [ExceptionGroup("h", [raised(httpx2.ConnectError("x"), ConnectionRefusedError())])]),
            "ConnectionRefused",
        ),
        (OSError(errno.ECONNREFUSED, "refused"), "ConnectionRefused"),
        (OSError(errno.EHOSTUNREACH, "no route"), "Unreachable"),
        (raised(httpx2.ConnectError("x"), ssl.SSLCertVerificationError("self-signed")), "TLSFailure"),
        (ssl.SSLError("wrong version number"), "TLSFailure"),
        (ConnectionResetError(), "ConnectionReset"),
        (httpx2.RemoteProtocolError("Server disconnected"), "ConnectionReset"),
        (httpx2.ReadError(""), "ConnectionReset"),
        (StreamEnded(), "ConnectionReset"),
        (MCPError(-32000, "Connection closed"), "ConnectionReset"),
        (TimeoutError(), "Timeout"),
        (httpx2.ConnectTimeout(""), "Timeout"),
        (raised(httpx2.ConnectTimeout(""), ssl.SSLWantReadError()), "Timeout"),
        (raised(httpx2.SSEError("Server-sent event exceeded the 9 byte limit.")), "ProtocolError"),
        (MCPError(-32001, "timed out"), "Timeout"),
        (HTTPStatusFailure(401), "Unauthorized"),
        (HTTPStatusFailure(403), "Unauthorized"),
        (HTTPStatusFailure(404), "NotFound"),
        (HTTPStatusFailure(502), "HTTPError"),
        (NotMCPFailure("it answered with text/html"), "NotMCP"),
        (raised(RuntimeError(), json.JSONDecodeError("no", "", 0)), "NotMCP"),
        (MCPError(-32700, "Failed to parse JSON response"), "NotMCP"),
        (MCPError(-32602, "bad"), "ProtocolError"),
        (MCPError(-32000, "Bad Request: no session"), "ProtocolError"),
        (invalid(), "ProtocolError"),
        (RuntimeError("Unsupported protocol version from the server: 1"), "ProtocolError"),
        (KeyError("x"), "InternalError"),
    ],
)
def test_class(error: BaseException, expected: str) -> None:
    report = classify(error)
    assert report.error_class == expected
    assert report.message


def test_a_classified_error_keeps_its_report() -> None:
    report = ErrorReport(error_class="NotFound", message="m")
    assert classify(raised(RuntimeError(), BackendError(report))) == report


def test_no_secret_stands_in_a_message() -> None:
    report = classify(
        MCPError(-32000 - 5, "token s3cr3t-value at https://u:p@host/x?key=1, Bearer abcdef"), secrets=["s3cr3t-value"]
    )
    assert "s3cr3t-value" not in report.message
    assert "host" not in report.message
    assert "abcdef" not in report.message
    assert "secret-value" not in classify(invalid()).message


def test_redacted_text_is_one_short_line() -> None:
    assert len(redact("x" * 1000)) == 300
    assert redact("a\n b") == "a b"


def test_redacted_text_moves_no_cursor() -> None:
    assert (
        redact("\x1b[2Jgone\x07 \u202ereversed, déjà vu")
        == "\N{REPLACEMENT CHARACTER}[2Jgone\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}reversed, déjà vu"
    )
