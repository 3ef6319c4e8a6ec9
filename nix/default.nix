# Everything that the flake offers for one system. Lazy: what nobody asks for is never evaluated.
{
  nixpkgs,
  system,
  flake,
}:
let
  pkgs = nixpkgs.legacyPackages.${system};
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) isLinux;
  # The repository's own lock when there is one, else what a first look needs.
  ownLock = ../concierge.lock;
in
rec {
  inherit pkgs isLinux;
  concierge = pkgs.callPackage ./package.nix { inherit flake; };
  engines = import ./engines.nix {
    inherit pkgs;
    importNixpkgs = config: import nixpkgs { inherit system config; };
  };
  constraints = import ./constraints.nix { inherit pkgs; };
  models = import ./models.nix { inherit pkgs; };
  ollamaStore = import ./ollama-store.nix { inherit pkgs; };
  ollamaStores = lib.mapAttrs (_: model: ollamaStore { inherit model; }) models;
  mirrorOf = import ./mirror.nix { inherit pkgs; };
  mirror = mirrorOf {
    lock = if builtins.pathExists ownLock then ownLock else ../src/concierge/catalog/models.toml;
    only = if builtins.pathExists ownLock then null else [ "smollm2-135m" ];
  };
  container = pkgs.callPackage ./container.nix { concierge = concierge.override { flake = null; }; };
  shell = pkgs.callPackage ./shell.nix {
    inherit flake;
    engine = engines.llama-cpp.native;
  };
  checks = import ./checks.nix {
    inherit
      nixpkgs
      pkgs
      system
      concierge
      ;
  };
}
