"""A real Nix for the tests: its own store, no network, and a nixpkgs that is ours unless a real one is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[2]
OFFLINE = "substituters =\nbuilders =\nsandbox = false\nbuild-users-group =\neval-cache = false\nflake-registry =\n"


@dataclass(frozen=True)
class Nix:
    """One Nix with one store.

    Attributes:
        executable: The `nix` to run.
        project: A copy of this repository as Nix sees it: tracked and new files, nothing ignored.
        nixpkgs: The stub, or the folder that CONCIERGE_NIXPKGS names.
        real: Whether it is a real nixpkgs.
        environment: Variables of every command.
        locked: Reference to a nixpkgs that is in the store; nothing where it is a folder of ours.
    """

    executable: Path
    project: Path
    nixpkgs: Path
    real: bool
    environment: Mapping[str, str]
    locked: str = ""

    @property
    def reference(self) -> str:
        """Return the nixpkgs as an input; a real one is in Nix's store already, and not copied for each command."""
        return self.locked or f"path:{self.nixpkgs}"

    def run(
        self,
        *words: str | Path,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        executable: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [executable or self.executable, *words],
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=3600 if self.real else 120,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"nix {' '.join(map(str, words))}\n{done.stderr[-4000:]}"
        return done

    def flake(
        self, command: str, attribute: str = "", *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the project's flake, with our nixpkgs in place of the locked one."""
        reference = f"path:{self.project}" + (f"#{attribute}" if attribute else "")
        override = ("--override-input", "nixpkgs", self.reference, "--no-write-lock-file")
        return self.run(*command.split(), reference, *override, *words, check=check)

    def build(self, attribute: str) -> Path:
        return Path(self.flake("build", attribute, "--no-link", "--print-out-paths").stdout.strip())

    def expression(self, text: str) -> str:
        """Return ``text`` with the names that the tests' Nix files take in reach."""
        return f"""let
          nixpkgs = {self.nixpkgs};
          project = {self.project};
          pkgs = import nixpkgs {{ system = builtins.currentSystem; }};
        in {text}"""

    def value(self, text: str, **options: Any) -> Any:
        """Return what an expression evaluates to."""
        return json.loads(self.run("eval", "--impure", "--json", "--expr", self.expression(text), **options).stdout)

    def failure(self, text: str) -> str:
        """Return the message of an expression that must not evaluate."""
        done = self.run("eval", "--impure", "--json", "--expr", self.expression(text), check=False)
        assert done.returncode != 0, f"evaluated: {done.stdout}"
        return done.stderr

    def built(self, text: str, *words: str, **options: Any) -> Path:
        """Build an expression and return where its output is."""
        done = self.run(
            "build", "--impure", "--no-link", "--print-out-paths", "--expr", self.expression(text), *words, **options
        )
        return Path(done.stdout.strip())


def stored(nix: Nix) -> Nix:
    """Put a real nixpkgs into the store once, and name it by its hash from then on."""
    found = json.loads(nix.run("flake", "prefetch", "--json", f"path:{nix.nixpkgs}").stdout)
    path, narhash = found["storePath"], urllib.parse.quote(found["hash"], safe="")
    return replace(nix, nixpkgs=Path(path), locked=f"path:{path}?narHash={narhash}")


def find() -> Path | None:
    """Return the Nix that ``./bootstrap.sh test --nix`` provides, or the machine's own."""
    named = os.environ.get("CONCIERGE_NIX") or shutil.which("nix")
    return Path(named) if named else None


def lab(executable: Path, folder: Path, python: str) -> Nix:
    """Copy the project and the stub into ``folder`` and give Nix a store of its own there."""
    project = folder / "project"
    tracked = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in filter(None, os.fsdecode(tracked.stdout).split("\0")):
        if (REPOSITORY / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, project / name)
    real = os.environ.get("CONCIERGE_NIXPKGS")
    if real:
        features = "experimental-features = nix-command flakes\n"
        return stored(Nix(executable, project, Path(real).resolve(), True, {**os.environ, "NIX_CONFIG": features}))
    stub = folder / "nixpkgs"
    shutil.copytree(REPOSITORY / "tests" / "nix" / "stub", stub)
    (stub / "host.nix").write_text(f"{{ python = {json.dumps(python)}; }}\n", encoding="utf-8")
    store = folder / "store" / "nix"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "NIX_CONFIG": "experimental-features = nix-command flakes\n" + OFFLINE,
        "NIX_REMOTE": "local",
        "NIX_STORE_DIR": str(store / "store"),
        "NIX_STATE_DIR": str(store / "var" / "nix"),
        "NIX_LOG_DIR": str(store / "var" / "log"),
    }
    return Nix(executable, project, stub, False, environment)
