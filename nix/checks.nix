# What `nix flake check` builds: nothing unfree, nothing that needs a GPU.
{
  nixpkgs,
  pkgs,
  system,
  concierge,
}:
nixosModule:
let
  inherit (pkgs) lib;
  machine = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    inherit system;
    modules = [
      nixosModule
      {
        services.concierge.enable = true;
        boot.isContainer = true;
        system.stateVersion = "26.05";
      }
    ];
  };
  inherit (machine) config;
  failed = lib.filter (assertion: !assertion.assertion) config.assertions;
  units = lib.attrNames (
    lib.filterAttrs (name: _: lib.hasPrefix "concierge" name) config.systemd.services
  );
in
{
  package = concierge;
  inherit (concierge.tests) suite;

  formatting =
    pkgs.runCommand "concierge-formatting"
      {
        nativeBuildInputs = [ pkgs.nixfmt ];
        files = lib.fileset.toSource {
          root = ../.;
          fileset = lib.fileset.unions [
            ../flake.nix
            ../nix
          ];
        };
      }
      ''
        find $files -name '*.nix' -exec nixfmt --check {} +
        touch $out
      '';
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
  module =
    assert lib.assertMsg (failed == [ ]) (lib.concatMapStringsSep "\n" (each: each.message) failed);
    assert
      units == [
        "concierge"
        "concierge-llm"
      ];
    pkgs.runCommand "concierge-module" {
      start = config.systemd.services.concierge.serviceConfig.ExecStart;
    } "touch $out";

  vm = import ./tests/vm.nix { inherit pkgs nixosModule; };
}
