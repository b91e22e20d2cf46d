"""The certificate of a proxy: two secret files whose names carry the version of their Secret, or a problem that says what to do.

found · renewed: another revision · missing Secret, missing key, what is no pair · none asked · names by which it is exposed
"""

from typing import Any

import pytest

from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.references import references
from mcp_operator.compile.servers import cluster_url
from mcp_operator_proxy.config import SecretRef, Tls
from support import models, resources
from support.tls import Issued, issue

ONE, TWO = issue(), issue()
PROXY = models.proxy(resources.proxy(tls={"secretName": "cert"}))


def compiled(version: str = "7", **data: str) -> Compiled:
    objects = dict([models.secret("cert", version)]) if not data else {}
    if data:
        key, found = models.secret("cert", version)
        objects = {key: type(found)(version, {name: value.encode() for name, value in data.items()})}
    return compile_proxy(PROXY, routes=[], servers=[], objects=objects, url_of=cluster_url)


def pair(issued: Issued) -> dict[str, str]:
    return {"tls.crt": issued.chain, "tls.key": issued.key}


def test_a_certificate_is_two_secret_files() -> None:
    outcome = compiled(**pair(ONE))
    assert outcome.config.tls == Tls(certificate=SecretRef(file="tls.crt.7"), key=SecretRef(file="tls.key.7"))
    assert outcome.secrets == {"tls.crt.7": ONE.chain.encode(), "tls.key.7": ONE.key.encode()}
    assert outcome.proxy_problems == ()
    assert "PRIVATE" not in repr(outcome)


def test_a_renewed_one_is_another_revision() -> None:
    assert compiled("7", **pair(ONE)).config.revision != compiled("8", **pair(TWO)).config.revision


PROBLEMS: list[tuple[dict[str, str], str, str]] = [
    ({"tls.crt": ONE.chain}, "RefNotFound", "Secret team-a/cert of spec.tls has no key tls.key"),
    ({"tls.crt": ONE.chain, "tls.key": TWO.key}, "InvalidValue", "tls.crt of Secret team-a/cert does not fit its key"),
    ({"tls.crt": "hunter2", "tls.key": TWO.key}, "InvalidValue", "is no PEM certificate"),
]


@pytest.mark.parametrize(("data", "reason", "words"), PROBLEMS)
def test_problems(data: dict[str, str], reason: str, words: str) -> None:
    outcome = compiled(**data)
    (problem,) = outcome.proxy_problems
    assert problem.reason == reason
    assert words in problem.message
    assert "hunter2" not in problem.message
    assert (outcome.config.tls, outcome.secrets) == (None, {})


def test_a_missing_secret() -> None:
    outcome = compile_proxy(PROXY, routes=[], servers=[], objects={}, url_of=cluster_url)
    (problem,) = outcome.proxy_problems
    assert (problem.reason, "Secret team-a/cert of spec.tls is not found" in problem.message) == ("RefNotFound", True)


def test_who_asks_for_none_refers_to_none() -> None:
    assert [*references(models.proxy(resources.proxy()))] == []
    assert [*references(PROXY)] == [("Secret", "team-a", "cert")]


EXPOSED: dict[str, Any] = {
    "ingress": {"host": "a.example.com"},
    "httpRoute": {"parentRefs": [{"name": "edge"}], "hostnames": ["b.example.com", "a.example.com"]},
}


@pytest.mark.parametrize(("allowed", "expected"), [([], ()), (["own"], ("own", "a.example.com", "b.example.com"))])
def test_names_of_the_ways_in_are_answered(allowed: list[str], expected: tuple[str, ...]) -> None:
    proxy = models.proxy(resources.proxy(allowedHosts=allowed, **EXPOSED))
    outcome = compile_proxy(proxy, routes=[], servers=[], objects={}, url_of=cluster_url)
    assert outcome.config.allowed_hosts == expected
