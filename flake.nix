{
  description = "concierge: the same local LLM agent stack on every machine";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      flake = self.outPath;
      scopes = lib.genAttrs systems (system: import ./nix { inherit nixpkgs system flake; });
      forAllSystems = f: lib.mapAttrs (_: f) scopes;
      nixosModule = import ./nix/modules/nixos.nix { inherit flake; };
      homeModule = import ./nix/modules/home.nix { inherit flake; };
      darwinModule = import ./nix/modules/darwin.nix { inherit flake; };
    in
    {
      packages = forAllSystems (
        scope:
        {
          default = scope.concierge;
          inherit (scope) concierge mirror;
          llama-cpp = scope.engines.llama-cpp.native;
          ollama = scope.engines.ollama.native;
        }
        // lib.optionalAttrs scope.isLinux { inherit (scope) container; }
      );

      # Never forced by `nix flake check` or `nix flake show`: large, unfree or absent on some systems.
      legacyPackages = forAllSystems (scope: {
        inherit (scope)
          constraints
          engines
          models
          ollamaStores
          ollamaStore
          mirrorOf
          ;
      });

      apps = forAllSystems (scope: rec {
        default = concierge;
        concierge = {
          type = "app";
          program = lib.getExe scope.concierge;
          meta.description = "Bring this machine to the locked state and run tasks on its local LLM";
        };
      });

      devShells = forAllSystems (scope: {
        default = scope.shell;
      });

      formatter = forAllSystems (scope: scope.pkgs.nixfmt-tree);

      checks = forAllSystems (scope: scope.checks nixosModule);

      overlays.default = import ./nix/overlay.nix { inherit flake; };

      nixosModules = {
        default = nixosModule;
        concierge = nixosModule;
      };
      homeModules = {
        default = homeModule;
        concierge = homeModule;
      };
      darwinModules = {
        default = darwinModule;
        concierge = darwinModule;
      };

      templates.default = {
        path = ./nix/template;
        description = "A machine, or a fleet of them, that runs concierge";
      };
    };
}
