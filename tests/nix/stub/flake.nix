{
  description = "A small stand-in for nixpkgs that knows only what concierge may use";

  outputs =
    { self }:
    let
      lib = import ./lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
    in
    {
      lib = lib // {
        nixosSystem = import ./nixos/lib/eval-config.nix;
      };
      legacyPackages = lib.genAttrs systems (system: import ./. { inherit system; });
    };
}
