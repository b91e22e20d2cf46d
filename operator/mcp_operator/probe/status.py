"""Asks one replica of a proxy for its `/status`.

Prepared bytes over HTTP, at a fraction of the cost of the client library: there are hundreds of replicas, and each is asked again
and again. What is not plainly as expected is asked again with the library, whose verdict counts. So is what speaks TLS.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx2
from pydantic import ValidationError

from mcp_operator.probe.bounded import unverified
from mcp_operator_proxy.backends.classify import HTTPStatusFailure, classify
from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.lean.exchange import Exchange, Unplain
from mcp_operator_proxy.fastlane.pool import Pool
from mcp_operator_proxy.report import ErrorReport, StatusReport

MAX_BODY: Final = 8 * 2**20
_CONNECT_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 2.0
_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(slots=True)
class Told:
    """What a replica said last, and the entity tag that it gave to that: it need not be said and read again."""

    tag: str = ""
    report: StatusReport | None = None


def status_client() -> httpx2.AsyncClient:
    """A client for many replicas: inside the cluster, no proxy, no credentials of the environment."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30)
    return httpx2.AsyncClient(verify=unverified(), limits=limits, trust_env=False)


async def ask_status(
    url: str,
    *,
    wait: str | None,
    timeout: float,  # noqa: ASYNC109 - it goes to the replica, too
    client: httpx2.AsyncClient | None = None,
    told: Told | None = None,
) -> StatusReport | ErrorReport:
    """Ask the proxy at `url` (`http://10.0.0.7:8080`). Raises nothing but `CancelledError`.

    With `wait`, the replica holds its answer until it runs or has refused that revision, at most `timeout` seconds; the whole
    takes at most two seconds more. Without, `timeout` bounds the whole. Fields that this version does not know are left out:
    a newer proxy may answer. `told` is kept up to date; where nothing has changed, the very report in it is the answer.
    """
    if client is None:
        async with status_client() as own:
            return await ask_status(url, wait=wait, timeout=timeout, client=own, told=told)
    told = told or Told()
    params = {} if wait is None else {"wait": wait, "timeout": f"{timeout:g}"}
    try:
        async with asyncio.timeout(timeout if wait is None else timeout + _GRACE_SECONDS):
            body = await _get(client, f"{url.rstrip('/')}/status", params, told)
    except Exception as error:  # noqa: BLE001 - classified
        return classify(error)
    if body is None:
        return ErrorReport(error_class="ProtocolError", message=f"its status is larger than {MAX_BYTES_TEXT}")
    if body == _UNCHANGED and told.report is not None:
        return told.report
    try:
        told.report = StatusReport.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, what["loc"]))
        return ErrorReport(
            error_class="ProtocolError",
            message=f"what it answers at /status is no status of a proxy: {where} {what['msg']}",
        )
    return told.report


MAX_BYTES_TEXT: Final = f"{MAX_BODY // 2**20} MiB"


_UNCHANGED: Final = b""


async def _get(client: httpx2.AsyncClient, url: str, params: dict[str, str], told: Told) -> bytes | None:
    """The body, and its tag in `told`; None when it is larger than `MAX_BODY`, `_UNCHANGED` when it is what it was."""
    timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    if told.report is not None and told.tag:
        headers["if-none-match"] = told.tag
    plain = await _plainly(f"{url}?{urlencode(params)}" if params else url, headers)
    if plain is not None and plain.status == httpx2.codes.NOT_MODIFIED and "if-none-match" in headers:
        return _UNCHANGED
    if plain is not None and plain.status == httpx2.codes.OK:
        told.tag, told.report = plain.headers.get(b"etag", b"").decode("latin-1"), None
        return plain.body
    async with client.stream("GET", url, params=params, headers=headers, timeout=timeout) as response:
        if response.status_code == httpx2.codes.NOT_MODIFIED and "if-none-match" in headers:
            return _UNCHANGED
        told.tag, told.report = response.headers.get("etag", ""), None
        if response.status_code != httpx2.codes.OK:
            raise HTTPStatusFailure(response.status_code)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY:
                return None
        return bytes(body)


async def _plainly(url: str, headers: dict[str, str]) -> Exchange | None:
    """The answer to a GET by prepared bytes; None where the library is to ask.

    Raises OSError and httpx2.ConnectTimeout: there was no connection.
    """
    if not url.startswith("http://") or not _SENDABLE.fullmatch(url + headers.get("if-none-match", "")):
        return None
    pool = Pool(Target(url=url, connect_timeout=_CONNECT_SECONDS))
    lines = [f"GET {pool.address.path} HTTP/1.1", f"host: {pool.address.authority}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    exchange = Exchange(limit=MAX_BODY)
    try:
        await exchange.run(pool, ("\r\n".join(lines) + "\r\n\r\n").encode())
    except Unplain:
        return None
    finally:
        pool.close()
    return exchange
