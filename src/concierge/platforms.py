"""The systems that a build is made for, and what it computes on."""

from __future__ import annotations

from typing import Literal

System = Literal[
    "x86_64-linux", "aarch64-linux", "aarch64-darwin", "x86_64-darwin", "x86_64-windows", "aarch64-windows"
]
Accelerator = Literal["cuda", "rocm", "vulkan", "metal", "cpu"]

ACCELERATORS: tuple[Accelerator, ...] = ("cuda", "rocm", "metal", "vulkan", "cpu")
"""Best first: a vendor's own stack before the portable one, and the CPU last."""
