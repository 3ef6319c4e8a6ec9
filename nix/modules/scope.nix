# The packages of this flake, built with the packages of the system that imports the module: its overlays win.
{ pkgs, flake }:
{
  # Small enough for every machine: a service that is only enabled starts with it.
  defaultModel = "smollm2-135m";
  concierge = pkgs.callPackage ../package.nix { inherit flake; };
  engines = import ../engines.nix {
    inherit pkgs;
    importNixpkgs =
      config:
      import pkgs.path {
        inherit config;
        inherit (pkgs.stdenv.hostPlatform) system;
      };
  };
  models = import ../models.nix { inherit pkgs; };
  ollamaStore = import ../ollama-store.nix { inherit pkgs; };
}
