"""Servers whose tools, resources and prompts show all that the inspector can show of them."""

import asyncio
import base64
import contextlib
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool, ToolResult
from mcp_types import AudioContent, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel, Field

from support.backends import ServedMCP
from support.gateway import running_gateway

from .worlds import SECRETS, World, made, routed

TOOLS: Final = 1000
HOSTILE: Final = (
    "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"
    "\x1b[31mred\x1b[0m\x07 \u202egpj.exe [a](javascript:alert(1))"
)
LONG: Final = "x" * 300_000
HEBREW: Final = "שלום עולם"


class Line(BaseModel):
    sku: str = Field(min_length=1, description="Article number.")
    count: int = Field(default=1, ge=1, le=99)


class Transfer(BaseModel):
    kind: Literal["transfer"] = "transfer"
    iban: str = Field(pattern="^[A-Z]{2}[0-9]{2}")


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Address(BaseModel):
    street: str
    city: str
    country: Literal["DE", "FR", "IT"] = "DE"


class Receipt(BaseModel):
    order: str
    articles: int
    city: str
    paid: str
    speed: str
    note: str | None


def png(side: int = 96) -> bytes:
    """A picture made here: a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(v for x in range(side) for v in (x * 2, y * 2, 180)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wav() -> bytes:
    """A tenth of a second of silence."""
    body = b"\0" * 800
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", len(body))
    return b"RIFF" + struct.pack("<I", len(head) + len(body)) + head + body


class Shop:
    """A server, and what its slow tool waits for."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.completed: list[tuple[str, str, dict[str, str]]] = []
        """What was completed: the argument, what was typed of it, and the other arguments."""
        self.mcp: FastMCP[Any] = FastMCP("Shop", version="3.1.0")
        for tool in (self.order, self.refuse, self.export, self.confirm, self.media, self.hostile):
            self.mcp.add_tool(Tool.from_function(tool))
        self.mcp.prompt(self.greeting)
        self.mcp.completion(self.complete)
        self.mcp.resource("shop://catalogue", mime_type="application/json", description="What there is.")(
            self.catalogue
        )
        self.mcp.resource("shop://articles/{sku}", description="One article.")(self.article)
        self.mcp.resource("shop://hostile", mime_type="text/html")(lambda: HOSTILE)

    def order(  # noqa: PLR0917  # a tool whose form has many fields
        self,
        customer: str,
        lines: Annotated[list[Line], Field(min_length=1)],
        ship_to: Address,
        payment: Annotated[Transfer | Card, Field(discriminator="kind")],
        speed: Literal["economy", "express"] = "economy",
        note: str | None = None,
    ) -> Receipt:
        """Places an order.

        Articles are reserved at once and sent when they are paid.
        """
        articles = sum(line.count for line in lines)
        return Receipt(
            order=f"A-{articles}-{customer}",
            articles=articles,
            city=ship_to.city,
            paid=payment.kind,
            speed=speed,
            note=note,
        )

    def refuse(self, reason: str) -> str:
        """Always fails."""
        raise ToolError(f"cannot: {reason}")

    async def export(self, rows: int, ctx: Context) -> str:
        """Takes its time, and tells how far it is."""
        try:
            await ctx.report_progress(1, rows, "first row written")
            await self.go_on.wait()
            await ctx.report_progress(rows, rows, "last row written")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return f"{rows} rows"

    async def confirm(self, ctx: Context) -> str:
        """Asks before it does anything."""
        answer = await ctx.elicit("How many pieces do you want?", response_type=int)
        return f"{answer.action}: {getattr(answer, 'data', None)}"

    def media(self) -> ToolResult:
        """A picture, a sound and a link."""
        return ToolResult(
            content=[
                TextContent(type="text", text="Here they are."),
                ImageContent(type="image", data=base64.b64encode(png()).decode(), mimeType="image/png"),
                AudioContent(type="audio", data=base64.b64encode(wav()).decode(), mimeType="audio/wav"),
                ResourceLink(type="resource_link", uri="shop://catalogue", name="The catalogue"),
            ]
        )

    def hostile(self, what: Literal["markup", "long", "hebrew"] = "markup") -> str:
        return {"markup": HOSTILE, "long": LONG, "hebrew": HEBREW}[what]

    async def complete(self, _: Any, argument: Any, context: Any) -> list[str]:
        """Tones, and for Ada one of her own; article numbers. `slow` waits until it is cancelled."""
        others = dict((context.arguments if context else None) or {})
        self.completed.append((argument.name, argument.value, others))
        if argument.value == "slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if argument.value == "broken":
            raise ValueError("the tones are lost")
        tones = ["formal", "frank", "friendly", *(["familiar"] if others.get("name") == "Ada" else [])]
        known = {"tone": tones, "sku": ["apple", "apricot", "pear"]}.get(argument.name, [])
        return [one for one in known if one.startswith(argument.value)]

    def greeting(self, name: str, tone: str = "friendly") -> str:
        """A greeting for a customer."""
        return f"Greet {name} in a {tone} tone. **Not bold.**"

    def catalogue(self) -> str:
        return '{"articles": ["apple", "pear"]}'

    def article(self, sku: str) -> str:
        return f"Article {sku}"


def many(count: int = TOOLS) -> FastMCP[Any]:
    """So many tools of an archive, of which one is about invoices."""
    mcp: FastMCP[Any] = FastMCP("Archive", version="1")
    for number in range(count):
        subject = "Finds overdue invoices" if number == 777 else f"Reads shelf {number}"
        tool = Tool.from_function(lambda: "done", name=f"shelf_{number:04}", description=f"{subject} of the archive.")
        mcp.add_tool(tool)
    return mcp


@contextlib.asynccontextmanager
async def shop_world(*, archive: bool = False, **more: Any) -> AsyncIterator[tuple[World, Shop]]:
    """A shop behind the prefix `shop`, and where it is wanted the archive."""
    shop = Shop()
    async with contextlib.AsyncExitStack() as stack:
        served = {"team-a/shop": await stack.enter_async_context(ServedMCP(shop.mcp))}
        if archive:
            served["team-b/archive"] = await stack.enter_async_context(ServedMCP(many()))
        config = {"inspector": {}, **routed([{"id": name, "url": one.url} for name, one in served.items()]), **more}
        gateway = await stack.enter_async_context(running_gateway(made(config), SECRETS))
        yield World(gateway, served, config), shop
