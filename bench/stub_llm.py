"""A server that answers chat completions at once, so that a benchmark sees only the client.

Run as its own process: it prints its base URL. A streamed answer has ``max_tokens`` tokens, each in an HTTP
chunk of its own as real servers send them (``--per-chunk`` joins several, as a buffering proxy does).
"""

from __future__ import annotations

import argparse
import asyncio
import json

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n\r\n"
COMMON = {
    "id": "chatcmpl-Kiw1Zvm0Jm2kohPnR9nchgxU0DyqLXGq",
    "created": 1795366191,
    "model": "stub",
    "system_fingerprint": "b0-unknown",
}
USAGE = {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}


class Stub(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, per_chunk: int) -> None:
        self._per_chunk = per_chunk
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        length = next(int(value) for name, _, value in lines if name.lower() == b"content-length")
        if len(body) < length:
            return
        self._received = b""
        asked = json.loads(body)
        tokens = asked.get("max_tokens") or asked.get("max_completion_tokens") or 8
        self._transport.write(streamed(tokens, self._per_chunk) if asked.get("stream") else whole())


def whole() -> bytes:
    message = {"role": "assistant", "content": "The capital of France is Paris."}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    body = json.dumps({**COMMON, "object": "chat.completion", "choices": choices, "usage": USAGE}).encode()
    return HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body


def streamed(tokens: int, per_chunk: int) -> bytes:
    events = [event({"role": "assistant", "content": None})]
    events += [event({"content": f" word{number % 10}"}) for number in range(tokens)]
    events += [event({}, finish_reason="stop"), event(None, usage=USAGE), b"data: [DONE]\n\n"]
    chunks = [b"".join(events[start : start + per_chunk]) for start in range(0, len(events), per_chunk)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked") + framed + b"0\r\n\r\n"


def event(delta: object, finish_reason: str | None = None, usage: object = None) -> bytes:
    choices = [] if delta is None else [{"finish_reason": finish_reason, "index": 0, "delta": delta}]
    document = {"choices": choices, **COMMON, "object": "chat.completion.chunk"}
    if usage is not None:
        document["usage"] = usage
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


async def serve(per_chunk: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(per_chunk), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-chunk", type=int, default=1)
    asyncio.run(serve(parser.parse_args().per_chunk))
