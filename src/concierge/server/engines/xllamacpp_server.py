"""Serve one model with xllamacpp. Run as a script by an isolated interpreter, so it imports nothing of ours.

It listens on a free port of 127.0.0.1, answers only to the key in ``CONCIERGE_SERVER_KEY``, and says nothing to
web pages of other origins. Its starter learns the port from its socket.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import Any

KEY = "CONCIERGE_SERVER_KEY"

NUMBERS = {
    "parallel": "n_parallel",
    "gpu_layers": "n_gpu_layers",
    "threads": "cpuparams.n_threads",
    "batch": "n_batch",
    "ubatch": "n_ubatch",
    "cache_ram": "cache_ram_mib",
    "flash_attn": "flash_attn_type",
}
"""Further parameters that are whole numbers, and where xllamacpp keeps them."""

TENSOR_TYPES = {"cache_type_k": "cache_type_k", "cache_type_v": "cache_type_v"}
"""Further parameters that are tensor types, such as ``f16``."""

SETTINGS = (*NUMBERS, *TENSOR_TYPES)


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine-root", required=True, help="folder that holds the xllamacpp package")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--alias", required=True, help="name that the server answers to")
    parser.add_argument("--context", required=True, type=int, help="tokens that one request may use")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=", ".join(SETTINGS))
    return parser.parse_args(words)


def configure(xllamacpp: Any, parameters: Any, options: argparse.Namespace, key: str) -> None:
    """Fill in xllamacpp's parameters; what is left out would be open or unbounded by default."""
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.offline = True
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.n_parallel = 1
    # The server may keep old prompts in this much memory (MiB); its own default is 8 GiB.
    parameters.cache_ram_mib = 512
    for setting in options.set:
        name, _, value = setting.partition("=")
        if name in TENSOR_TYPES:
            setattr(parameters, TENSOR_TYPES[name], getattr(xllamacpp.ggml_type, f"GGML_TYPE_{value.upper()}"))
        else:
            _set(parameters, NUMBERS[name], int(value))
    # The server divides its context among the requests that it takes at once.
    parameters.n_ctx = options.context * parameters.n_parallel


def _set(target: Any, path: str, value: int) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        target = getattr(target, folder)
    setattr(target, last, value)


def device_is_there(xllamacpp: Any) -> None:
    """End where layers are to go to a device and there is none: they would be computed by the CPU without a word."""
    found = [device["name"] for device in xllamacpp.get_device_info()]
    kinds = {getattr(device["type"], "name", "").rpartition("_")[2] for device in xllamacpp.get_device_info()}
    if not kinds & {"GPU", "IGPU"}:
        sys.exit(f"xllamacpp lists no GPU device (it lists {', '.join(found)})")


def main() -> None:
    options = arguments(sys.argv[1:])
    key = os.environ.pop(KEY)
    # The default action ends the process at once, also while native code loads the model for minutes;
    # a handler in Python would have to wait for it. There is nothing to put in order.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.path.insert(0, options.engine_root)
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]  # lives in the store

    parameters = xllamacpp.CommonParams()
    configure(xllamacpp, parameters, options, key)
    if any(setting.startswith("gpu_layers=") and setting != "gpu_layers=0" for setting in options.set):
        device_is_there(xllamacpp)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        sys.exit(f"xllamacpp: {error}")
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
