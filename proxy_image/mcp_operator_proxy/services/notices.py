"""Notices: what happened to servers, credentials and definitions, kept for the operator and told to a webhook.

Told as CloudEvents 1.0 (structured JSON), signed as Standard Webhooks have it, again and again until they are taken. Those of one subject
come in their order. What several replicas see has one id, which follows from its content, and is told by one of them.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import httpx2
from prometheus_client import Counter

from mcp_operator_proxy.backends.classify import redact
from mcp_operator_proxy.backends.network import EgressDenied, guarded_client
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.config.services import NoticeType
from mcp_operator_proxy.report import NoticeReport
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.swap.validate import ConfigRejected, secret
from mcp_operator_proxy.tasks import cancel

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
KEPT: Final = 64
MAX_WAITING: Final = 1000
"""Notices that wait for the webhook; those beyond are counted and not told."""
MAX_MESSAGE: Final = 1024
SOURCE: Final = "/mcp-operator-proxy"
TYPE_PREFIX: Final = "dev.mcp-operator."
FIRST_PAUSE: Final = 1.0
MOST_PAUSE: Final = 3600.0
"""Also of what a webhook asks for by `Retry-After`."""
ANSWER_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 5.0
"""For what waits when the proxy ends."""
TOLD_SECONDS: Final = 86_400.0
CLAIM_SECONDS: Final = 60.0
_DONE: Final = b"told"
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with


@dataclass(frozen=True)
class Webhook:
    """Where notices go. `key` signs them."""

    url: str
    key: bytes | None = field(default=None, repr=False)
    types: frozenset[str] = frozenset()
    attempts: int = 8


def webhook(config: ProxyConfig, secrets: Mapping[str, str]) -> Webhook | None:
    """Raises SecretMissing, and ConfigRejected where the key is none."""
    notices = config.notices
    if notices is None:
        return None
    key = None
    if notices.signing_key is not None:
        text = secret(notices.signing_key, secrets, "notices.signingKey", config.revision).strip()
        try:
            key = signing_key(text)
        except ValueError as error:
            raise ConfigRejected(f"notices.signingKey: {error}", config.revision) from None
    types = frozenset(notices.types or get_args(NoticeType))
    return Webhook(str(notices.webhook), key, types, notices.attempts)


def signing_key(text: str) -> bytes:
    """`whsec_` and base64, or any text of at least 24 characters. Raises ValueError, without the text."""
    if not text.startswith(_SECRET_PREFIX):
        if len(text) < 24:
            raise ValueError("it must have at least 24 characters")
        return text.encode()
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ must be base64") from None
    if len(key) < 24:
        raise ValueError("what follows whsec_ must be at least 24 bytes")
    return key


def signature(key: bytes, notice: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, time and body."""
    signed = hmac.new(key, b"%b.%d.%b" % (notice.encode(), timestamp, body), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def event_body(notice: NoticeReport, data: Mapping[str, Any]) -> bytes:
    """The CloudEvent as JSON: of `data` all, whatever of it the notice shows."""
    from cloudevents.core.formats.json import JSONFormat  # noqa: PLC0415 - of the gateway's extra
    from cloudevents.core.v1.event import CloudEvent  # noqa: PLC0415 - as above

    attributes = {
        "id": notice.id,
        "source": SOURCE,
        "type": TYPE_PREFIX + notice.type,
        "time": notice.time,
        "subject": notice.subject,
        "datacontenttype": "application/json",
    }
    return JSONFormat().write(CloudEvent(attributes, {**data, "message": message_of(data)}))


def notice_id(kind: str, subject: str, data: Mapping[str, Any]) -> str:
    """The same for the same content, whoever sees it."""
    content = json.dumps([kind, subject, data], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def message_of(data: Mapping[str, Any]) -> str:
    """Its own words, or its data in a line; without what looks like a credential."""
    words = data.get("message")
    text = str(words) if words else ", ".join(f"{key}: {value}" for key, value in data.items())
    return redact(text, (), MAX_MESSAGE)


@dataclass(frozen=True)
class _Told:
    notice: NoticeReport
    data: Mapping[str, Any]


class Notices:
    """`tell` it what happened; `newest` is what `/status` shows."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.webhook: Webhook | None = None
        self._kept: OrderedDict[str, NoticeReport] = OrderedDict()
        self._waiting: dict[str, deque[_Told]] = {}
        self._tellers: dict[str, asyncio.Task[None]] = {}
        self._count = 0
        self._client: httpx2.AsyncClient | None = None
        self._instance = token_hex(8).encode()
        self._notices = Counter(
            "mcp_proxy_notices",
            "Notices by what became of them.",
            ["type", "outcome"],
            registry=proxy.metrics.registry,
        )

    @property
    def newest(self) -> tuple[NoticeReport, ...]:
        """Oldest first; at most `KEPT`."""
        return tuple(self._kept.values())

    def use(self, prepared: "Prepared") -> None:
        self.webhook = prepared.webhook

    def tell(
        self, kind: NoticeType, subject: str, data: Mapping[str, Any], shown: Mapping[str, Any] | None = None
    ) -> None:
        """Something happened to `subject`: a server's id, a provider. `data` is what JSON can say, and holds no secret.

        `shown` stands for it where everybody may read it, in `/status` and in Events: where `data` names a user, or says what a
        user's own server said. What has been told in just these words is not told again while it is among the newest.
        """
        public = data if shown is None else shown
        identity = notice_id(
            kind, subject, public
        )  # of `data` it would be a digest that names of users can be tried against
        if identity in self._kept:
            return
        notice = NoticeReport(
            id=identity, time=datetime.now(UTC), type=kind, subject=subject, message=message_of(public)
        )
        self._kept[identity] = notice
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        logger.warning("notice", extra={"type": kind, "subject": subject, "id": identity, "notice": message_of(data)})
        if self.webhook is None or kind not in self.webhook.types:
            self._notices.labels(kind, "kept").inc()
            return
        if self._count >= MAX_WAITING:
            self._notices.labels(kind, "dropped").inc()
            return
        self._count += 1
        self._waiting.setdefault(subject, deque()).append(_Told(notice, dict(data)))
        if subject not in self._tellers:
            self._tellers[subject] = asyncio.get_running_loop().create_task(self._tell_all(subject))

    async def _tell_all(self, subject: str) -> None:
        """Those of one subject, one after the other."""
        queue = self._waiting[subject]
        try:
            while queue:
                outcome = "failed"
                try:
                    outcome = await self._told_once(queue[0])
                except Exception:  # whatever it is, the next one is told
                    logger.exception("a notice was not told")
                told = queue.popleft()
                self._count -= 1
                self._notices.labels(told.notice.type, outcome).inc()
        finally:
            del self._waiting[subject], self._tellers[subject]

    async def _told_once(self, told: _Told) -> str:
        """Tell it, unless another replica does; what became of it."""
        stores, key = self._proxy.services.stores, f"notice:{told.notice.id}"
        while stores.shared:
            try:
                if await stores.keyvalue.add(key, self._instance, CLAIM_SECONDS):
                    break
                holder = await stores.keyvalue.get(key)
            except StoreUnavailable:
                break  # twice is better than never
            if holder == _DONE:
                return "elsewhere"
            if holder is not None:
                await asyncio.sleep(FIRST_PAUSE)
        outcome = await self._deliver(told, key)
        if stores.shared:
            with contextlib.suppress(StoreUnavailable):
                await stores.keyvalue.put(key, _DONE, TOLD_SECONDS)
        return outcome

    async def _deliver(self, told: _Told, key: str) -> str:
        pause, body = FIRST_PAUSE, event_body(told.notice, told.data)
        attempt = 0
        while (hook := self.webhook) is not None and attempt < hook.attempts:
            attempt += 1
            found = await self._post(hook, told.notice.id, body)
            if found == "delivered":
                return "delivered"
            if found == "gone" or attempt >= hook.attempts:
                break
            wait = pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            if isinstance(found, float):
                wait = max(wait, min(found, MOST_PAUSE))
            await self._hold(key, wait)
            await asyncio.sleep(wait)
            pause = min(pause * 2, MOST_PAUSE)
        logger.error("a notice was not taken by the webhook", extra={"id": told.notice.id, "attempts": attempt})
        return "failed"

    async def _hold(self, key: str, seconds: float) -> None:
        """Keep the claim until the next attempt."""
        stores = self._proxy.services.stores
        if stores.shared:
            with contextlib.suppress(StoreUnavailable):
                await stores.keyvalue.put(key, self._instance, seconds + CLAIM_SECONDS)

    async def _post(self, hook: Webhook, identity: str, body: bytes) -> float | Literal["delivered", "gone"] | None:
        """What became of one attempt; of one to be repeated the seconds that the webhook asks for, if it does."""
        now = int(time.time())
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": identity,
            "webhook-timestamp": str(now),
        }
        if hook.key is not None:
            headers["webhook-signature"] = signature(hook.key, identity, now, body)
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._http().stream("POST", hook.url, content=body, headers=headers) as response,
            ):
                status, asked = response.status_code, response.headers.get("retry-after")
        except (httpx2.HTTPError, EgressDenied, OSError) as error:  # a TimeoutError is an OSError
            text = str(error) if isinstance(error, EgressDenied) else type(error).__name__
            logger.warning("the webhook of notices is not reached", extra={"error": text})
            return None
        if 200 <= status < 300:
            return "delivered"
        logger.warning("the webhook of notices does not take one", extra={"status": status})
        return "gone" if status == 410 else retry_after(asked, time.time())

    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = guarded_client(self._proxy.egress, timeout=ANSWER_SECONDS)
        return self._client

    async def close(self) -> None:
        if self._tellers:
            await asyncio.wait(list(self._tellers.values()), timeout=CLOSE_SECONDS)
        left = self._count
        await cancel(list(self._tellers.values()))
        if left:
            logger.error("notices were not told to the webhook", extra={"notices": left})
        if self._client is not None:
            await self._client.aclose()


class Processes:
    """Tells of the ends of stdio servers' processes: a server that was restarted, and once one that is given up for a while."""

    def __init__(self, notices: Notices, instance: str, proxy: "Proxy") -> None:
        self._notices = notices
        self._instance = instance
        self._proxy = proxy
        self._given_up: set[str] = set()

    def ended(self, server: str, error: str, restarts: int, *, gave_up: bool) -> None:
        """A process ended by itself or hung, for the `restarts`th time."""
        if gave_up and server in self._given_up:
            return
        (self._given_up.add if gave_up else self._given_up.discard)(server)
        what = "is not started again for a while, as it ends at every start" if gave_up else "is started again"
        data = {"message": f"{error}; it {what}", "server": server, "restarts": restarts, "replica": self._instance}
        state = self._proxy.state
        personal = state is not None and server in state.personal
        shown = {**data, "message": f"a process of one of its users ended; it {what}"} if personal else None
        self._notices.tell("server.gave-up" if gave_up else "server.restarted", server, data, shown)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of `Retry-After` (RFC 9110, section 10.2.3): a number, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return None
