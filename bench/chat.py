"""CPU time of one whole reply, against raw httpx doing the same POST.

    python -m bench.chat [--peers FOLDER] [--openai] [--litellm]

The base posts with one pooled ``httpx.AsyncClient`` and takes the text out of ``response.json()``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from bench.rounds import Contender, compare, cpu_seconds, peers, report, stub

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. Answer in one sentence."},
    {"role": "user", "content": "What is the capital of France?"},
]
TARGET = 1.2


async def measure_httpx(url: str, calls: int) -> float:
    import httpx

    async with httpx.AsyncClient() as client:

        async def call() -> str:
            body = {"model": "stub", "messages": MESSAGES, "stream": False, "temperature": 0.2, "max_tokens": 64}
            response = await client.post(f"{url}/chat/completions", json=body, headers={"Authorization": "Bearer key"})
            response.raise_for_status()
            return str(response.json()["choices"][0]["message"]["content"])

        return await cpu_seconds(call, calls=calls, warm_up=calls // 10)


async def measure_concierge(url: str, calls: int) -> float:
    from concierge.chat.client import OpenAICompatibleChatClient
    from concierge.endpoint import Endpoint

    async with OpenAICompatibleChatClient(Endpoint(url, "stub", "key")) as client:

        async def call() -> str:
            return await client.chat(MESSAGES, "stub", temperature=0.2, max_tokens=64)

        return await cpu_seconds(call, calls=calls, warm_up=calls // 10)


async def measure_openai(url: str, calls: int) -> float:
    from openai import AsyncOpenAI  # type: ignore[import-not-found]  # lives in the peers' environment only

    async with AsyncOpenAI(base_url=url, api_key="key") as client:

        async def call() -> object:
            reply = await client.chat.completions.create(
                messages=MESSAGES, model="stub", temperature=0.2, max_tokens=64
            )
            return reply.choices[0].message.content

        return await cpu_seconds(call, calls=calls, warm_up=calls // 10)


async def measure_litellm(url: str, calls: int) -> float:
    import litellm  # type: ignore[import-not-found]  # lives in the peers' environment only

    async def call() -> object:
        reply = await litellm.acompletion(
            model="openai/stub", messages=MESSAGES, api_base=url, api_key="key", temperature=0.2, max_tokens=64
        )
        return reply.choices[0].message.content

    return await cpu_seconds(call, calls=calls, warm_up=calls // 10)


MEASURES = {
    "httpx": measure_httpx,
    "concierge": measure_concierge,
    "openai": measure_openai,
    "litellm": measure_litellm,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
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
    with peers(options.peers, *others) as python, stub() as url:

        def command(name: str) -> list[str]:
            interpreter = python if name in others else sys.executable
            return [interpreter, "-m", "bench.chat", "--calls", str(options.calls), "--measure", name, url]

        contenders = [Contender(name, command(name)) for name in ("httpx", "concierge", *others)]
        figures = compare(contenders, rounds=options.rounds)
    return 0 if report("chat", "call", figures, base="httpx", target=TARGET) else 1


if __name__ == "__main__":
    sys.exit(main())
