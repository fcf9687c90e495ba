"""Asks a cloud by the protocol's own client: mcp_client.py URL KEY MODEL. Prints what came as JSON.

For either major of the client: the older has camel case, and is greeted by hand.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

MAJOR = version("mcp").split(".")[0]


@asynccontextmanager
async def connected(url: str, key: str) -> AsyncIterator[tuple[Any, Any, str]]:
    """A client, what greeted it, and in which version of the protocol."""
    headers = {"authorization": f"Bearer {key}"}
    if MAJOR == "1":
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with (
            streamablehttp_client(url, headers=headers) as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            hello = await session.initialize()
            yield session, hello.serverInfo, hello.protocolVersion
        return
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as web,
        Client(streamable_http_client(url, http_client=web)) as client,
    ):
        yield client, client.server_info, client.protocol_version


def given(result: Any) -> dict[str, Any]:
    """What a tool gave to programs."""
    return result.structuredContent if MAJOR == "1" else result.structured_content


def failed(result: Any) -> bool:
    return result.isError if MAJOR == "1" else result.is_error


async def main(url: str, key: str, model: str) -> None:
    said: dict[str, Any] = {"client": MAJOR}
    async with connected(url, key) as (client, server, protocol):
        said["server"], said["protocol"] = server.name, protocol
        said["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        models = given(await client.call_tool("list_models", {}))
        said["models"] = [each["id"] for each in models["models"]]
        asked = {"model": model, "message": "say it", "max_tokens": 2}
        chat = await client.call_tool("chat", asked)
        said["chat"] = [failed(chat), chat.content[0].text]
        said["cost_nano"] = given(chat)["cost_nano"]
        wrong = await client.call_tool("chat", {**asked, "model": "nothing"})
        said["wrong"] = [failed(wrong), "model_not_found" in wrong.content[0].text]
        used = given(await client.call_tool("usage", {"days": 1}))
        said["requests"] = sum(row["requests"] for row in used["usage"])
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
