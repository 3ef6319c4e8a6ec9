"""The program that asks NVML and CUDA, against libraries that answer as NVIDIA's do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.machine.bundle import Bundle
from concierge.machine.capture.gather import Host, ask, joined, nvml_folder
from concierge.machine.read.machine import read
from concierge.processes import run

if TYPE_CHECKING:
    from pathlib import Path

COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux" or not nvml_folder(), reason="needs a C compiler and nvidia-ml-py"
)

NVML = r"""
#include <string.h>
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci;
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char *b, unsigned n) { strcpy(b, "580.95.05"); return 0; }
int nvmlSystemGetCudaDriverVersion(int *v) { *v = 13000; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetName(void *h, char *b, unsigned n) {
  strcpy(b, h == (void *)1 ? "RTX 4090" : "NVIDIA GB10");
  return 0;
}
int nvmlDeviceGetPciInfo_v3(void *h, pci *p) {
  memset(p, 0, sizeof *p);
  p->id = h == (void *)1 ? 0x268410de : 0x2e1210de;
  strcpy(p->bus_id, h == (void *)1 ? "00000000:01:00.0" : "0000000F:01:00.0");
  return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 8; *b = 9; return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m) {
  if (h != (void *)1) return 3;
  m->total = 25757220864ULL; m->free = 24696061952ULL; m->used = 1;
  return 0;
}
const char *nvmlErrorString(int code) { return code == 3 ? "Not Supported" : "Unknown Error"; }
"""
CUDA = r"""
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { if (getenv("CRASH")) abort(); return 0; }
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *b, int n, int d) { strcpy(b, "RTX 4090"); return 0; }
int cuDeviceGetPCIBusId(char *b, int n, int d) { strcpy(b, "0000:01:00.0"); return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 18 ? 0 : a == 75 ? 8 : 9; return 0; }
"""


def built(folder: Path, name: str, source: str) -> str:
    path = folder / name
    command = [str(COMPILER), "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(path), f"-Wl,-soname,{name}"]
    subprocess.run(command, input=source.encode(), check=True, timeout=60)
    return str(path)


HANDLE = "*h = (void *)(long)(i + 1); return"
LOST = NVML.replace("*n = 2;", "*n = 3;").replace(f"{HANDLE} 0;", f"{HANDLE} i == 1 ? 15 : 0;")
"""The second of three cards fell off the bus."""

PART = "if (h == (void *)9) { m->total = 10; m->free = 9; return 0; }"
DIVIDED = NVML.replace("*n = 2;", "*n = 1;").replace("if (h != (void *)1) return 3;", PART)
DIVIDED += r"""
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *next) { *now = *next = 1; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) { *n = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **part) { *part = (void *)9; return i == 2 ? 0 : 6; }
"""
"""One card with one part, which is the third of seven that there could be."""


def asked(folder: Path, source: str = NVML) -> Bundle:
    nvml, cuda = built(folder, "libnvidia-ml.so.1", source), built(folder, "libcuda.so.1", CUDA)
    return ask(Host(run=run, environ={}), "nvidia", nvml_folder(), nvml, cuda, seconds=20)


def test_devices_are_read_from_libraries_outside_the_loaders_path(tmp_path: Path) -> None:
    bundle = asked(tmp_path)
    assert not bundle.failures
    platform = Bundle(platform={"system": "linux", "machine": "x86_64"}, libraries={"libcuda": "/x/libcuda.so.1"})
    first, second = read(joined([platform, bundle])).devices
    assert (first.id, first.pci_id, first.memory.dedicated.bytes) == ("0000:01:00.0", "10de:2684", 25757220864)
    assert first.can("cuda")
    assert (second.id, second.kind, second.memory.dedicated.bytes) == ("000f:01:00.0", "unified", None)


def test_what_nvml_said_is_kept_when_cuda_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRASH", "1")
    bundle = asked(tmp_path)
    assert len(bundle.records("nvml", "devices")) == 2
    assert "cuda" not in bundle.answers
    assert bundle.failures["nvidia"].startswith("it ended with -6")


def test_a_lost_card_hides_none_of_the_others(tmp_path: Path) -> None:
    first, lost, third = asked(tmp_path, LOST).records("nvml", "devices")
    assert (first["name"], third["name"]) == ("RTX 4090", "NVIDIA GB10")
    assert lost.keys() == {"error"}


def test_the_parts_of_a_divided_card_are_told_with_their_memory(tmp_path: Path) -> None:
    (card,) = asked(tmp_path, DIVIDED).records("nvml", "devices")
    assert card["memory_total"] == 25757220864
    assert [(part["memory_total"], part["memory_free"]) for part in card["slices"]] == [(10, 9)]
