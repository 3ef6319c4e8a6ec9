"""services.concierge, evaluated: units, users, firewall, sentences; and judged by systemd itself."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix

UPSTREAM = Path(__file__).with_name("upstream-ollama.service")
SCENARIOS = '(import (project + "/tests/nix/scenarios.nix") { inherit nixpkgs project; })'
WORKING = (
    *("default", "graphics", "cuda", "rocm", "ollama", "exposed", "remote", "elsewhere", "own", "settings", "beside"),
    *("whichever", "named", "shared", "nested", "ports", "parallel", "kept", "sixth", "credential", "homely", "path"),
)
NVIDIA = {"char-nvidia", "char-nvidiactl", "char-nvidia-caps", "char-nvidia-frontend", "char-nvidia-uvm", "/dev/dxg"}

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


class Machines:
    """The evaluated scenarios, all of them at once."""

    def __init__(self, nix: Nix) -> None:
        if not nix.value('builtins.match ".*-linux" builtins.currentSystem != null'):
            pytest.skip("NixOS is Linux")
        self.nix = nix
        working = " ".join(f'"{name}"' for name in WORKING)
        facts = (
            f"builtins.listToAttrs (map (name: {{ inherit name; value = {SCENARIOS}.${{name}}.facts; }}) [ {working} ])"
        )
        self.facts: dict[str, Any] = nix.value(facts)
        self.refused: dict[str, list[str]] = nix.value(f"builtins.mapAttrs (_: each: each.refused) {SCENARIOS}")

    def service(self, scenario: str, unit: str) -> Any:
        return self.facts[scenario]["services"][unit]["serviceConfig"]

    def units(self, scenario: str) -> Path:
        return self.nix.built(f"{SCENARIOS}.{scenario}.units", "--option", "hashed-mirrors", "")


@pytest.fixture(scope="module")
def machines(nix: Nix) -> Machines:
    return Machines(nix)


def test_enabling_it_is_enough(machines: Machines) -> None:
    default = machines.facts["default"]
    assert set(default["services"]) == {"concierge", "concierge-llm"}
    assert default["services"]["concierge"]["requires"] == ["concierge-llm.service"]
    assert "concierge-llm.service" in default["services"]["concierge"]["after"]
    assert all(unit["wantedBy"] == ["multi-user.target"] for unit in default["services"].values())
    assert default["ports"] == []
    assert len(default["packages"]) == 1


def test_both_units_run_as_one_static_user(machines: Machines) -> None:
    assert set(machines.facts["default"]["users"]) == {"concierge"}
    assert machines.facts["default"]["groups"] == ["concierge"]
    for unit in ("concierge", "concierge-llm"):
        service = machines.service("default", unit)
        assert (service["User"], service["Group"]) == ("concierge", "concierge")
        assert "DynamicUser" not in service


def test_a_user_that_is_named_is_not_made(machines: Machines) -> None:
    assert machines.facts["own"]["users"] == {}
    assert machines.service("own", "concierge")["User"] == "someone"


def test_a_start_is_over_when_it_answers_and_not_before(machines: Machines) -> None:
    for unit in ("concierge", "concierge-llm"):
        service = machines.service("default", unit)
        assert "ready" in service["ExecStartPost"]
        assert service["TimeoutStartSec"] in ("2min", "30min")


def test_restarts_have_a_limit(machines: Machines) -> None:
    for unit in machines.facts["default"]["services"].values():
        assert unit["serviceConfig"]["Restart"] == "on-failure"
        assert unit["unitConfig"].items() >= {"StartLimitBurst": 5, "StartLimitIntervalSec": 600}.items()


@pytest.mark.parametrize(
    ("scenario", "devices"),
    [
        ("default", set[str]()),
        ("cuda", NVIDIA),
        ("rocm", {"char-drm", "char-kfd"}),
        ("graphics", NVIDIA | {"char-drm"}),
    ],
)
def test_only_the_llm_sees_the_chosen_gpu_and_nothing_else(
    machines: Machines, scenario: str, devices: set[str]
) -> None:
    llm = machines.service(scenario, "concierge-llm")
    assert set(llm.get("DeviceAllow", [])) == devices
    assert llm["DevicePolicy"] == "closed"
    assert llm["PrivateDevices"] is (not devices)
    api = machines.service(scenario, "concierge")
    assert "DeviceAllow" not in api
    assert api["PrivateDevices"] is True


def test_auto_is_vulkan_where_graphics_is_on_and_the_cpu_elsewhere(machines: Machines) -> None:
    assert machines.facts["default"]["acceleration"] == "cpu"
    assert machines.facts["graphics"]["acceleration"] == "vulkan"


def test_the_llm_talks_to_this_machine_alone(machines: Machines) -> None:
    llm = machines.service("default", "concierge-llm")
    assert (llm["IPAddressDeny"], llm["IPAddressAllow"]) == ("any", "localhost")


def test_the_firewall_opens_only_when_asked_and_only_for_the_api(machines: Machines) -> None:
    assert machines.facts["exposed"]["ports"] == [9000]
    assert all(machines.facts[name]["ports"] == [] for name in WORKING if name != "exposed")


def test_a_token_file_is_a_credential_and_never_in_the_store(machines: Machines) -> None:
    service = machines.service("exposed", "concierge")
    assert service["LoadCredential"] == "token:/run/secrets/token"
    assert "%d/token" in service["ExecStart"]
    assert "ExecStartPre" not in service


def test_a_remote_llm_needs_one_unit(machines: Machines) -> None:
    assert set(machines.facts["remote"]["services"]) == {"concierge"}
    assert machines.facts["remote"]["services"]["concierge"]["requires"] == []


def test_state_outside_var_lib_is_made_and_writable(machines: Machines) -> None:
    assert machines.facts["elsewhere"]["tmpfiles"] == ["d /srv/concierge 0700 concierge concierge -"]
    service = machines.service("elsewhere", "concierge")
    assert service["ReadWritePaths"] == ["/srv/concierge"]
    assert "StateDirectory" not in service


def test_the_cuda_cache_is_trusted_only_when_asked(machines: Machines) -> None:
    assert "https://cache.nixos-cuda.org" in machines.facts["cuda"]["substituters"]
    assert "https://cache.nixos-cuda.org" not in machines.facts["default"]["substituters"]


def test_ollama_serves_the_declared_files_and_never_tidies_them(machines: Machines) -> None:
    environment = machines.facts["ollama"]["services"]["concierge-llm"]["environment"]
    assert environment["OLLAMA_NOPRUNE"] == "1"
    assert environment["OLLAMA_HOST"] == "127.0.0.1:11435"
    assert environment["OLLAMA_MODELS"].endswith("-concierge-ollama-models")


def test_the_environment_reaches_the_engine(machines: Machines) -> None:
    environment = machines.facts["rocm"]["services"]["concierge-llm"]["environment"]
    assert environment["HSA_OVERRIDE_GFX_VERSION"] == "10.3.0"


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        ("reachable", "which other machines can reach"),
        ("closed", "listens on 127.0.0.1 alone"),
        ("secret", "everybody on this machine can read the Nix store"),
        ("nowhere", "Set services.concierge.settings.llm.base_url"),
        ("twice", "Set services.concierge.engine to remote"),
        ("port", "Set services.concierge.host and services.concierge.port instead"),
        ("metal", "does not exist on"),
        ("unknown", "qwen0 is not in the catalogue"),
        ("unknownToo", "names a model that is not in the catalogue"),
        ("clash", "are both 8787"),
        ("stored", "is in the Nix store, which everybody on this machine can read"),
        ("relative", "is secrets/token, and a service has no folder"),
        ("privileged", "below 1024"),
        ("lowLlm", "below 1024"),
        ("unrooted", "is state/concierge, and a service has no folder"),
        ("everybodys", "everybody on this machine can write to /tmp"),
        ("run", "the units see nothing below /home, /root, /run/user"),
        ("otherToken", "is $HOME/token, and a service has no folder"),
        ("ollamaApi", "would listen on port 11434, which services.ollama has"),
        ("file", "would ignore a model that is a file"),
        ("homeModel", "is /home/ada/mine.gguf, and the units see nothing below /home"),
        ("relativeModel", "models/mine.gguf is not in the catalogue"),
        ("ollamaPath", "a file alone does not say how its conversations are written"),
        ("remotePath", "would ignore a model that is a file"),
        ("home", "is /home/ada/concierge, and the units see nothing below /home"),
        ("nobody", "user is someone, and nothing here defines"),
        ("noGroup", "group is people, and nothing here defines"),
        ("ollamaToo", "would listen on port 11434, which services.ollama has"),
        ("ignored", "engine is ollama, which would ignore them"),
        ("idle", "would ignore acceleration"),
        ("unnamed", "model is still the default"),
        ("opened", "has --host, which the module sets itself"),
        ("openedToo", "has --host=0.0.0.0, which the module sets itself"),
    ],
)
def test_what_cannot_work_is_refused_in_one_plain_sentence(machines: Machines, scenario: str, sentence: str) -> None:
    # A real nixpkgs may have a word of its own besides.
    (message,) = [each for each in machines.refused[scenario] if each.startswith("services.concierge")]
    assert sentence in message
    assert message.endswith(".")


def test_what_works_is_not_refused(machines: Machines) -> None:
    assert {name: machines.refused[name] for name in WORKING} == {name: [] for name in WORKING}


@pytest.mark.parametrize(
    ("scenario", "llm"),
    [
        (
            "default",
            {
                "base_url": "http://127.0.0.1:11435/v1",
                "model": "smollm2-135m",
                "context": 8192,
                "api_key_file": "/run/concierge-llm/key",
            },
        ),
        ("remote", {"base_url": "http://gpu.example:8000/v1", "model": "qwen3.5-9b", "context": 8192}),
    ],
)
def test_a_client_on_the_machine_is_told_where_the_llm_is(machines: Machines, scenario: str, llm: Any) -> None:
    if machines.nix.real:
        pytest.skip("writing TOML with a real nixpkgs is the work of its caches")
    told = machines.nix.built(f"{SCENARIOS}.{scenario}.client").read_text(encoding="utf-8")
    assert tomllib.loads(told) == {"llm": llm}


def test_the_group_reads_the_secrets_and_nobody_else_does(machines: Machines) -> None:
    for unit in ("concierge", "concierge-llm"):
        service = machines.service("default", unit)
        assert (service["RuntimeDirectoryMode"], service["Group"]) == ("0750", "concierge")


def test_a_model_by_its_path_is_waited_for_and_must_be_there(machines: Machines) -> None:
    unit = machines.facts["path"]["services"]["concierge-llm"]["unitConfig"]
    assert (unit["RequiresMountsFor"], unit["AssertPathExists"]) == ("/srv/models/mine.gguf", "/srv/models/mine.gguf")
    assert "AssertPathExists" not in machines.facts["default"]["services"]["concierge-llm"]["unitConfig"]


def test_the_llm_is_ended_before_the_machine_runs_out_of_memory(machines: Machines) -> None:
    assert machines.service("default", "concierge-llm")["MemoryMax"] == "90%"
    assert "MemoryMax" not in machines.service("path", "concierge-llm")


def test_a_forbidden_call_is_an_error_and_no_death(machines: Machines) -> None:
    for unit in ("concierge", "concierge-llm"):
        assert machines.service("default", unit)["SystemCallErrorNumber"] == "EPERM"


def test_an_option_that_does_not_exist_is_refused(nix: Nix) -> None:
    message = nix.failure(
        '(import (nixpkgs + "/nixos/lib/eval-config.nix") { system = "x86_64-linux"; modules = [ '
        '(import (project + "/nix/modules/nixos.nix") { flake = "/f"; }) '
        '{ services.concierge.accelerator = "cuda"; } ]; }).config.assertions'
    )
    assert "services.concierge.accelerator" in message
    assert "does not exist" in message


PARTS = """(import (project + "/nix/modules/parts.nix") {
  inherit (pkgs) lib;
  inherit pkgs;
  scope = import (project + "/nix/modules/scope.nix") { inherit pkgs; flake = "/f"; };
  cfg = {
    engine = "llama-cpp"; model = "smollm2-135m"; models = [ ]; context = 8192; host = "127.0.0.1"; port = 8787;
    llmPort = PORT; stateDir = "/var/lib/concierge"; environment = { }; extraArguments = [ ];
    package = pkgs.callPackage (project + "/nix/package.nix") { flake = "/f"; };
    settings = SETTINGS;
  };
})"""


def parts(settings: str = "{ }", *, port: int = 11435) -> str:
    return PARTS.replace("SETTINGS", settings).replace("PORT", str(port))


def test_a_configuration_that_concierge_accepts_is_built(stubbed: Nix) -> None:
    built = stubbed.built(parts("{ run.max_steps = 40; }") + ".config")
    text = built.read_text(encoding="utf-8")
    assert "max_steps = 40" in text
    assert 'base_url = "http://127.0.0.1:11435/v1"' in text


def test_every_key_of_the_configuration_may_be_set(stubbed: Nix) -> None:
    settings = '{ locked = false; llm.flake = "path:/srv/concierge"; llm.temperature = 0.1; run.max_seconds = 60.0; }'
    text = stubbed.built(parts(settings) + ".config").read_text(encoding="utf-8")
    assert 'flake = "path:/srv/concierge"' in text


def test_a_key_that_concierge_does_not_know_fails_the_build_with_its_own_message(stubbed: Nix) -> None:
    text = stubbed.expression(parts("{ run.max_stesp = 40; }") + ".config")
    failed = stubbed.run("build", "--impure", "--no-link", "-L", "--expr", text, check=False)
    assert failed.returncode != 0
    assert "max_stesp" in failed.stderr
    assert "max_steps" in failed.stderr


def ready(nix: Nix, port: int, key: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run what systemd runs to learn that the LLM answers."""
    script = nix.built(parts(port=port) + ".llmReady")
    return subprocess.run(
        [script, key],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_llm_is_ready_when_it_answers_a_request_with_its_key(stubbed: Nix, tmp_path: Path) -> None:
    seen: list[tuple[str | None, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Authorization"], body.decode()))
            self.send_response(503 if len(seen) == 1 else 200)  # the first one finds it still loading
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    key = tmp_path / "llm" / "key"
    secret = stubbed.built(parts() + ".makeSecret")
    subprocess.run([secret, key], check=True, timeout=10)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        done = ready(stubbed, server.server_address[1], key)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert len(seen) == 2
    assert seen[0][0] == f"Bearer {key.read_text(encoding='utf-8')}"
    assert json.loads(seen[0][1])["max_tokens"] == 1


def test_an_llm_that_died_is_not_waited_for(stubbed: Nix, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k", encoding="utf-8")
    ended = subprocess.Popen(["true"])
    ended.wait(timeout=10)
    assert ready(stubbed, 9, tmp_path / "key", MAINPID=str(ended.pid)).returncode == 1


def test_a_secret_is_long_private_and_kept_over_a_restart(stubbed: Nix, tmp_path: Path) -> None:
    secret = stubbed.built(parts() + ".makeSecret")
    file = tmp_path / "llm" / "key"
    subprocess.run([secret, file], check=True, timeout=10)
    first = file.read_text(encoding="utf-8")
    subprocess.run([secret, file], check=True, timeout=10)
    assert file.read_text(encoding="utf-8") == first
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", first)
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.parent.stat().st_mode & 0o007 == 0


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found is not None, done.stderr
    return float(found[1])


def copied(units: Path, folder: Path) -> list[Path]:
    """Copy unit files out of the store: systemd wants them under their own names."""
    files = []
    for unit in sorted(units.iterdir()):
        file = folder / unit.name
        file.write_bytes(unit.read_bytes())
        files.append(file)
    return files


@systemd
@pytest.mark.parametrize("scenario", ["default", "cuda", "rocm", "graphics", "exposed"])
def test_systemd_accepts_the_units_and_rates_them_no_worse_than_nixpkgs_ollama(
    stubbed: Nix, machines: Machines, tmp_path: Path, scenario: str
) -> None:
    files = copied(machines.units(scenario), tmp_path)
    assert [file.name for file in files] == ["concierge-llm.service", "concierge.service"]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    upstream = exposure(UPSTREAM)
    for file in files:
        assert exposure(file) <= upstream, file.name
