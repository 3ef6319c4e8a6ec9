{ flake }:
final: _prev: {
  concierge = final.callPackage ./package.nix { inherit flake; };
  conciergeEngines = import ./engines.nix {
    pkgs = final;
    importNixpkgs =
      config:
      import final.path {
        inherit config;
        inherit (final.stdenv.hostPlatform) system;
      };
  };
  conciergeModels = import ./models.nix { pkgs = final; };
}
