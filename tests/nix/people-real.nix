# services.concierge in the real home-manager and the real nix-darwin, down to derivations.
{
  nixpkgs,
  project,
  homeManager,
  nixDarwin,
}:
let
  pkgsFor = system: import nixpkgs { inherit system; };
  inherit (pkgsFor "x86_64-linux") lib;
  ours = set: builtins.filter (lib.hasPrefix "concierge") (builtins.attrNames set);
  home =
    system: folder: extra:
    import (homeManager + "/modules") {
      pkgs = pkgsFor system;
      configuration = {
        imports = [
          (import (project + "/nix/modules/home.nix") { flake = "/flake"; })
          extra
        ];
        services.concierge.enable = true;
        home.username = "ada";
        home.homeDirectory = folder;
        home.stateVersion = "26.05";
      };
    };
  linux = home "x86_64-linux" "/home/ada";
  mac = home "aarch64-darwin" "/Users/ada" { };
  darwin = import (nixDarwin + "/eval-config.nix") {
    lib = import (nixpkgs + "/lib");
    modules = [
      (import (project + "/nix/modules/darwin.nix") { flake = "/flake"; })
      {
        services.concierge.enable = true;
        nixpkgs.source = nixpkgs;
        nixpkgs.hostPlatform = "aarch64-darwin";
        system.primaryUser = "ada";
        system.stateVersion = 6;
      }
    ];
  };
in
{
  linux = {
    made = (linux { }).activationPackage.drvPath;
    jobs = ours (linux { }).config.systemd.user.services;
  };
  mac = {
    made = mac.activationPackage.drvPath;
    jobs = ours mac.config.launchd.agents;
  };
  darwin = {
    # All that launchd reads. The rest of nix-darwin checks its scripts with Haskell's shellcheck, which is in few trees.
    made = darwin.config.system.build.launchd.drvPath;
    jobs = ours darwin.config.launchd.user.agents;
    refused = map (each: each.message) (
      builtins.filter (each: !each.assertion) darwin.config.assertions
    );
  };
  refused =
    (linux { services.concierge.apiTokenFile = builtins.storeDir + "/token"; }).activationPackage.drvPath;
}
