"""Answers as kube-apiserver 1.37 gave them, and the type that each becomes."""

import json
from typing import Any

import pytest

from mcp_operator.kube.errors import (
    AlreadyExists,
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    from_response,
)

SECRET = "/api/v1/namespaces/demo/secrets/s"


def status(code: int, reason: str, message: str, **details: Any) -> bytes:
    return json.dumps(
        {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details}
    ).encode()


@pytest.mark.parametrize(
    ("code", "reason", "message", "expected"),
    [
        (400, "BadRequest", 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data', Invalid),
        (401, "Unauthorized", "Unauthorized", Unauthorized),
        (403, "Forbidden", 'configmaps is forbidden: User "plain" cannot list resource "configmaps"', Forbidden),
        (404, "NotFound", 'configmaps "a" not found', NotFound),
        (405, "MethodNotAllowed", "the server does not allow this method on the requested resource", Invalid),
        (409, "Conflict", 'Operation cannot be fulfilled on configmaps "a": the object has been modified', Conflict),
        (409, "AlreadyExists", 'configmaps "a" already exists', AlreadyExists),
        (410, "Expired", "The provided continue parameter is too old", Gone),
        (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", Invalid),
        (415, "UnsupportedMediaType", "the body of the request was in an unknown format", Invalid),
        (422, "Invalid", 'Deployment.apps "d" is invalid: spec.replicas: Invalid value: -1', Invalid),
        (429, "TooManyRequests", "Too many requests, please try again later.", TooManyRequests),
        (500, "InternalError", "etcdserver: request timed out", Unavailable),
        (
            500,
            "",
            "failed to create typed patch object (demo/a; /v1, Kind=ConfigMap): .nope: field not declared",
            Invalid,
        ),
        (500, "", "failed to convert new object (demo/s; /v1, Kind=Secret) to proper version: illegal base64", Invalid),
        (503, "ServiceUnavailable", "the server is currently unable to handle the request", Unavailable),
        (504, "Timeout", "Timeout: request did not complete within the allotted timeout", Timeout),
        (418, "", "a teapot", ApiError),
    ],
)
def test_each_answer_has_its_type(code: int, reason: str, message: str, expected: type[ApiError]) -> None:
    error = from_response(code, {}, status(code, reason, message))
    assert type(error) is expected
    assert (error.status, error.reason) == (code, reason)
    if code != 401:
        assert str(error) == error.message == message


def test_what_waits_for_an_edit_is_one_type_and_what_may_pass_is_another() -> None:
    assert not issubclass(Invalid, Unavailable)
    assert issubclass(TooManyRequests, Unavailable)
    assert issubclass(Timeout, Unavailable)
    assert issubclass(AlreadyExists, Conflict)


def test_the_causes_name_fields() -> None:
    causes = [
        {"reason": "FieldValueInvalid", "message": "Invalid value: -1: must be greater than or equal to 0",
         "field": "spec.replicas"},
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template.spec.containers[0].image"},
        {"message": "of the whole"},
    ]  # fmt: skip
    error = from_response(422, {}, status(422, "Invalid", "invalid", causes=causes))
    assert error.causes == (
        Cause("spec.replicas", "Invalid value: -1: must be greater than or equal to 0", "FieldValueInvalid"),
        Cause("spec.template.spec.containers[0].image", "Required value", "FieldValueRequired"),
        Cause("", "of the whole", ""),
    )
    assert [str(cause) for cause in error.causes] == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "spec.template.spec.containers[0].image: Required value",
        "of the whole",
    ]


@pytest.mark.parametrize(("reason", "terminating"), [("NamespaceTerminating", True), ("FieldValueForbidden", False)])
def test_a_terminating_namespace_is_told_from_other_prohibitions(reason: str, terminating: bool) -> None:
    causes = [{"reason": reason, "field": "metadata.namespace", "message": "namespace demo is being terminated"}]
    error = from_response(403, {}, status(403, "Forbidden", "forbidden", causes=causes))
    assert isinstance(error, Forbidden)
    assert error.namespace_terminating is terminating


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        ({"Retry-After": "3"}, {}, 3.0),
        ({}, {"retryAfterSeconds": 7}, 7.0),
        ({"Retry-After": "1"}, {"retryAfterSeconds": 7}, 1.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        ({"Retry-After": "-4"}, {"retryAfterSeconds": 2}, 2.0),
        ({"Retry-After": "nan"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_wait_that_the_server_asks_for(headers: dict[str, str], details: dict[str, Any], expected: Any) -> None:
    error = from_response(429, headers, status(429, "TooManyRequests", "slow down", **details))
    assert error.retry_after == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>token=abc</html>", b"[1]", b'"text"', b'{"kind":"Other","message":"token=abc"}', b"\xff\xfe"]
)
def test_an_answer_that_no_api_server_wrote_is_not_repeated(body: bytes) -> None:
    error = from_response(502, {}, body, phrase="Bad Gateway")
    assert str(error) == "HTTP 502 Bad Gateway"
    assert type(error) is Unavailable


@pytest.mark.parametrize(
    ("code", "message", "shown"),
    [
        (422, 'Secret "s" is invalid: type: Invalid value: "hunter2": field is immutable',
         'Secret "s" is invalid: type: Invalid value: (withheld): field is immutable'),
        (400, 'Secret in version "v1" cannot be handled: json: "hun\\"ter2"',
         'Secret in version "v1" cannot be handled: json: (withheld)'),
        (500, "failed to create typed patch object (demo/s): .data.k: expected string, got &value.V{Value:hunter2}",
         "failed to create typed patch object (demo/s): .data.k: expected string, (withheld)"),
    ],
)  # fmt: skip
def test_values_of_a_secret_are_withheld(code: int, message: str, shown: str) -> None:
    body = status(code, "", message, causes=[{"field": "data", "message": message}])
    error = from_response(code, {}, body, path=SECRET)
    assert str(error) == shown
    assert error.causes[0].message == shown
    assert str(from_response(code, {}, body, path="/api/v1/namespaces/demo/configmaps/s")) == message


def test_a_refused_credential_is_not_described() -> None:
    error = from_response(401, {}, status(401, "Unauthorized", "bearer abc.def is expired"))
    assert str(error) == "the API server does not accept this client's credentials"


def test_a_message_has_a_limit() -> None:
    error = from_response(422, {}, status(422, "Invalid", "x" * 100_000))
    assert len(error.message) == 2048
    assert error.message.endswith("…")
