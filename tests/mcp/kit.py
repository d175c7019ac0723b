"""A tool server made with the official SDK, for tests: `python kit.py FOLDER`, over its standard input and output.

What it has seen is to be found in the folder: `cancelled` when a call was cancelled, `environment` with the names of its variables.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, Image, MCPServer

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def made(folder: Path) -> MCPServer:
    server = MCPServer("kit", instructions="Ask it for sums.")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    def fail() -> str:
        raise ValueError("it cannot be done")

    @server.tool()
    def pixel() -> Image:
        return Image(data=PIXEL, format="png")

    @server.tool()
    def write_much() -> str:
        return "\n".join(f"line {number}" for number in range(10_000))

    @server.tool()
    async def hang(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half of it")
        try:
            await asyncio.Event().wait()
        finally:
            (folder / "cancelled").touch()
        return "never"

    @server.tool()
    async def learn(ctx: Context) -> str:
        server.add_tool(lambda: "I know", name="know", description="What it has learnt.")
        await ctx.session.send_tool_list_changed()
        return "learnt"

    @server.resource("memo://one", name="memo")
    def memo() -> str:
        return "remember the milk"

    return server


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "environment").write_text("\n".join(os.environ))
    made(place).run()
