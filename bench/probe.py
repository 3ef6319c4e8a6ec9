"""How long the probe takes here and how many processes it starts.

Prints one JSON line on standard output and a table on standard error. Run: ``PYTHONPATH=src python bench/probe.py``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

LIMIT_SECONDS, LIMIT_PROCESSES = 0.3, 3
ROUNDS = 10

processes: list[str] = []
sys.addaudithook(lambda event, arguments: processes.append(str(arguments[0])) if event == "subprocess.Popen" else None)


def main() -> int:
    begun = time.perf_counter()
    from concierge.machine.capture.probe import capture
    from concierge.machine.read.machine import read

    imported = time.perf_counter() - begun
    captured, reads, counts = [], [], []
    for _ in range(ROUNDS):
        processes.clear()
        begun = time.perf_counter()
        bundle = capture()
        middle = time.perf_counter()
        read(bundle)
        reads.append(time.perf_counter() - middle)
        captured.append(middle - begun)
        counts.append(len(processes))
    probes = [one + two for one, two in zip(captured, reads, strict=True)]
    figures = {
        "bench": "probe",
        "import_s": round(imported, 4),
        "first_probe_s": round(probes[0], 4),
        "median_probe_s": round(statistics.median(probes), 4),
        "worst_probe_s": round(max(probes), 4),
        "median_read_s": round(statistics.median(reads), 5),
        "subprocesses": max(counts),
    }
    print(json.dumps(figures))
    for name, value in figures.items():
        print(f"{name:<16} {value}", file=sys.stderr)
    kept = probes[0] + imported <= LIMIT_SECONDS and max(counts) <= LIMIT_PROCESSES
    print(f"{'within limits' if kept else 'OVER THE LIMIT'}: {LIMIT_SECONDS} s, {LIMIT_PROCESSES}", file=sys.stderr)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
