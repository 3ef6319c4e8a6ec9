"""A real MCP server, written with the SDK: ``python server.py [http PORT]``."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp_types import ImageContent
from pydantic import BaseModel, Field

server = MCPServer("things")


class Place(BaseModel):
    """Where something is."""

    city: str
    zip: str | None = None


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"The sum is {a + b}."


@server.tool(name="weather-of.today", description=f"Tell the weather.\n\n{'Words. ' * 400}")
def weather(place: Place, unit: Annotated[Literal["C", "F"], Field(description="Unit " * 90)] = "C") -> str:
    return f"21 {unit} in {place.city}."


@server.tool()
def read(path: str) -> str:
    """Read something of the server's own."""
    return f"{path} of the server's"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("this fails always")


@server.tool()
def hang() -> str:
    """Never answer."""
    time.sleep(3600)
    return "never"


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(7)


@server.tool()
def variable(name: str) -> str:
    """Tell a variable."""
    return os.environ.get(name, "(not set)")


@server.tool()
def picture() -> ImageContent:
    """Give a picture."""
    return ImageContent(type="image", data="AAAA", mime_type="image/png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run()
