from __future__ import annotations

import pytest

from concierge.machine.bundle import Bundle, dumps
from concierge.machine.redact import redacted
from concierge.processes import Output


def cleaned(text: str, *names: str) -> str:
    return redacted(Bundle(files={"/x": text}), names=names).files["/x"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GPU UUID: \t GPU-2dee1e25-b3b5-007e-2b55-79f2d0f2ebe5", "2dee1e25"),
        ("unique_id 12345678901234567", "12345678901234567"),
        ('"spdisplays_display-serial-number" : "C02XY1234567"', "C02XY1234567"),
        ("Serial Number (system): C02XY1234567", "C02XY1234567"),
        ("Hardware UUID: ABCDEF", "ABCDEF"),
        ("link/ether 52:54:00:12:34:56 brd", "52:54:00"),
        ("path /home/ada/.cache", "ada"),
        ("path /Users/ada/Library", "ada"),
        (r"C:\Users\ada\AppData", "ada"),
        (r"PCI\VEN_10DE&DEV_2504&SUBSYS_397D1462&REV_A1\4&2283F625&0&0019", "2283F625"),
        ("Linux version 6.8 (ada@workbench) (gcc)", "workbench"),
        ("0::/docker/3f4e1c0d9b8a7f6e5d4c3b2a1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a3f2e", "3f4e1c0d"),
    ],
)
def test_what_names_a_person_or_a_computer_is_taken_out(text: str, secret: str) -> None:
    assert secret not in cleaned(text)


def test_own_names_are_taken_out_as_words_only() -> None:
    assert cleaned("host workbench, workbenches, ada's", "workbench", "ada") == "host someone, workbenches, someone's"


def test_a_user_called_like_a_vendor_does_not_spoil_the_facts() -> None:
    text = "vendor amd, driver nvidia, user root"
    assert cleaned(text, "amd", "nvidia", "root") == text


def test_facts_survive() -> None:
    facts = "0000:01:00.0 580.95.05 25757220864 GenuineIntel 0x0000004000000000 gfx1100 MemTotal:       16384 kB"
    assert cleaned(facts) == facts


def test_serials_in_answers_and_commands_go_too() -> None:
    bundle = Bundle(
        answers={"nvml": {"devices": [{"name": "RTX", "uuid": "GPU-1", "serial": 42}]}},
        commands={"tool": Output(0, "Serial Number: ABC123\nfine")},
    )
    text = dumps(redacted(bundle))
    assert "GPU-1" not in text
    assert "42" not in text
    assert "ABC123" not in text
    assert "fine" in text
