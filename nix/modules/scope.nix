# The packages of this flake, built with the packages of the system that imports the module: its overlays win.
{ pkgs, flake }:
{
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
