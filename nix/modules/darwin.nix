# services.concierge in nix-darwin: launchd agents of the person who is logged in, where Metal is at hand.
{ flake }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.concierge;
  scope = import ./scope.nix { inherit pkgs flake; };
  parts = import ./parts.nix {
    inherit
      lib
      pkgs
      cfg
      scope
      ;
  };
in
{
  options.services.concierge = import ./options.nix {
    inherit
      lib
      pkgs
      config
      scope
      ;
    # Of each person who is logged in: concierge and the jobs' scripts know whose ~ it is.
    stateDir = "~/Library/Application Support/concierge";
  };

  config = lib.mkIf cfg.enable {
    assertions = import ./assertions.nix {
      inherit
        lib
        pkgs
        config
        cfg
        parts
        scope
        ;
      # The jobs' shell replaces these.
      tokenStarts = [ "$" ];
      stateStarts = [ "~/" ];
    };
    services.concierge.resolvedAcceleration =
      if cfg.acceleration == "auto" then "metal" else cfg.acceleration;
    environment.systemPackages = [ cfg.package ] ++ parts.keep;
    launchd.user.agents = import ./launchd.nix {
      inherit
        lib
        pkgs
        cfg
        parts
        ;
      wrap = serviceConfig: { inherit serviceConfig; };
    };
  };
}
