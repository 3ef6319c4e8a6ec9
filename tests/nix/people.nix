# services.concierge in home-manager and in nix-darwin: the options that they set there, declared by their own names.
{
  nixpkgs,
  project,
  system,
}:
let
  pkgs = import nixpkgs { inherit system; };
  inherit (pkgs) lib;
  inherit (lib) mkOption types;
  option =
    type: default:
    mkOption {
      inherit type default;
      description = "As in home-manager or nix-darwin.";
    };
  anything = option (types.attrsOf types.anything) { };
  common = {
    options.assertions = option (types.listOf types.anything) [ ];
  };
  homeOptions = {
    options = {
      home.packages = option (types.listOf types.anything) [ ];
      xdg.dataHome = option types.str "/home/ada/.local/share";
      systemd.user.services = anything;
      launchd.agents = anything;
    };
  };
  darwinOptions = {
    options = {
      environment.systemPackages = option (types.listOf types.anything) [ ];
      launchd.user.agents = anything;
    };
  };
  evaluate =
    modules:
    (lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        common
        { services.concierge.enable = true; }
      ]
      ++ modules;
    }).config;
  home = evaluate [
    homeOptions
    (import (project + "/nix/modules/home.nix") { flake = "/flake"; })
  ];
  darwin = evaluate [
    darwinOptions
    (import (project + "/nix/modules/darwin.nix") { flake = "/flake"; })
  ];
  shared = evaluate [
    darwinOptions
    (import (project + "/nix/modules/darwin.nix") { flake = "/flake"; })
    { services.concierge.stateDir = "/Users/Shared/concierge"; }
  ];
  spaced = evaluate [
    homeOptions
    (import (project + "/nix/modules/home.nix") { flake = "/flake"; })
    {
      xdg.dataHome = lib.mkForce "/home/ada/my 100% $data";
      services.concierge.environment.SAID = ''a "b" 100% \c'';
      services.concierge.apiTokenFile = "\${XDG_RUNTIME_DIR}/my secrets/token";
    }
  ];
  refused =
    config: map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions);
in
{
  home = {
    refused = refused home;
    units = home.systemd.user.services;
    agents = home.launchd.agents;
    acceleration = home.services.concierge.resolvedAcceleration;
    state = home.services.concierge.stateDir;
    options = builtins.attrNames home.services.concierge;
  };
  spaced = {
    refused = refused spaced;
    units = spaced.systemd.user.services;
  };
  shared.refused = refused shared;
  darwin = {
    state = darwin.services.concierge.stateDir;
    refused = refused darwin;
    agents = darwin.launchd.user.agents;
    options = builtins.attrNames darwin.services.concierge;
  };
}
