"""CPU time of one streamed token, against a bare httpx line loop.

    python -m bench.stream [--peers FOLDER] [--openai] [--litellm] [--per-chunk N]

The base is the least that reads a stream at all: ``async for line in response.aiter_lines()`` counting the
lines, without looking into them. concierge decodes each event and hands its text to a callback.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rounds import Contender, compare, cpu_seconds, peers, report, stub

if TYPE_CHECKING:
    from concierge.chat.port import Delta

MESSAGES = [{"role": "user", "content": "Count."}]
TOKENS = 2000
TARGET = 2.0


async def measure_httpx(url: str, calls: int) -> float:
    import httpx

    async with httpx.AsyncClient() as client:

        async def call() -> int:
            body = {"model": "stub", "messages": MESSAGES, "stream": True, "max_tokens": TOKENS}
            lines = 0
            async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
                async for _line in response.aiter_lines():
                    lines += 1
            assert lines > TOKENS
            return lines

        return await cpu_seconds(call, calls=calls, warm_up=1) / TOKENS


async def measure_concierge(url: str, calls: int) -> float:
    from concierge.chat.client import OpenAICompatibleChatClient
    from concierge.endpoint import Endpoint

    async with OpenAICompatibleChatClient(Endpoint(url, "stub")) as client:

        async def call() -> int:
            characters = 0

            def show(delta: Delta) -> None:
                nonlocal characters
                characters += len(delta.content)

            await client.chat(MESSAGES, "stub", max_tokens=TOKENS, on_delta=show)
            assert characters == 6 * TOKENS
            return characters

        return await cpu_seconds(call, calls=calls, warm_up=1) / TOKENS


async def measure_openai(url: str, calls: int) -> float:
    from openai import AsyncOpenAI  # type: ignore[import-not-found]  # lives in the peers' environment only

    async with AsyncOpenAI(base_url=url, api_key="key") as client:

        async def call() -> int:
            characters = 0
            chunks = await client.chat.completions.create(
                messages=MESSAGES, model="stub", max_tokens=TOKENS, stream=True
            )
            async for chunk in chunks:
                if chunk.choices:
                    characters += len(chunk.choices[0].delta.content or "")
            assert characters == 6 * TOKENS
            return characters

        return await cpu_seconds(call, calls=calls, warm_up=1) / TOKENS


async def measure_litellm(url: str, calls: int) -> float:
    import litellm  # type: ignore[import-not-found]  # lives in the peers' environment only

    async def call() -> int:
        characters = 0
        chunks = await litellm.acompletion(
            model="openai/stub", messages=MESSAGES, api_base=url, api_key="key", max_tokens=TOKENS, stream=True
        )
        async for chunk in chunks:
            characters += len(chunk.choices[0].delta.content or "")
        return characters

    return await cpu_seconds(call, calls=calls, warm_up=1) / TOKENS


MEASURES = {
    "httpx": measure_httpx,
    "concierge": measure_concierge,
    "openai": measure_openai,
    "litellm": measure_litellm,
}
NAMES = {"httpx": "httpx aiter_lines"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5, help=f"streams per round, of {TOKENS} tokens each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--per-chunk", type=int, default=1, help="events in one HTTP chunk; servers send one")
    parser.add_argument("--peers", type=Path, help="folder to keep the peers' environment in")
    parser.add_argument("--openai", action="store_true", help="measure the openai SDK too")
    parser.add_argument("--litellm", action="store_true", help="measure litellm too")
    parser.add_argument("--measure", nargs=2, metavar=("CONTENDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        contender, url = options.measure
        print(asyncio.run(MEASURES[contender](url, options.calls)))
        return 0
    others = [name for name in ("openai", "litellm") if getattr(options, name)]
    with peers(options.peers, *others) as python, stub("--per-chunk", str(options.per_chunk)) as url:

        def command(name: str) -> list[str]:
            interpreter = python if name in others else sys.executable
            return [interpreter, "-m", "bench.stream", "--calls", str(options.calls), "--measure", name, url]

        contenders = [Contender(NAMES.get(name, name), command(name)) for name in ("httpx", "concierge", *others)]
        figures = compare(contenders, rounds=options.rounds)
    return 0 if report("stream", "token", figures, base=NAMES["httpx"], target=TARGET) else 1


if __name__ == "__main__":
    sys.exit(main())
