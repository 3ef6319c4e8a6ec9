# services.concierge for one person: systemd user units on Linux, launchd agents on a Mac.
{ flake }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkIf;
  inherit (pkgs.stdenv.hostPlatform) isLinux;
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
  # systemd splits at blanks and replaces what follows % and $, but inside the words that this makes.
  literal = lib.replaceStrings [ "%" ] [ "%%" ];
  pairs = lib.mapAttrsToList (name: value: literal (builtins.toJSON "${name}=${value}"));
  folder = builtins.toJSON (lib.replaceStrings [ "$" ] [ "$$" ] (literal cfg.stateDir));
  makesToken = cfg.apiTokenFile == null;
  usesKey = cfg.engine == "llama-cpp";
  # %t is the person's runtime folder, which is memory and goes with the session.
  key = "%t/concierge/key";
  # Secret managers for one person write %t or ${XDG_RUNTIME_DIR}, which systemd replaces inside quotes too.
  token = builtins.toJSON (if makesToken then "%t/concierge/token" else cfg.apiTokenFile);
  apiEnvironment = parts.environment // {
    CONCIERGE_CONFIG_PATH = "${parts.config}";
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
    stateDir = "${config.xdg.dataHome}/concierge";
  };

  config = mkIf cfg.enable {
    assertions = import ./assertions.nix {
      inherit
        lib
        pkgs
        config
        cfg
        parts
        scope
        ;
      tokenStarts = [ "$" ] ++ lib.optional isLinux "%";
      stateStarts = lib.optional (!isLinux) "~/";
    };

    services.concierge.resolvedAcceleration =
      if cfg.acceleration != "auto" then
        cfg.acceleration
      else if isLinux then
        "cpu"
      else
        "metal";

    home.packages = [ cfg.package ] ++ parts.keep;

    systemd.user.services = mkIf isLinux (
      {
        concierge = {
          Unit = {
            Description = "HTTP API of concierge";
            Requires = lib.optional parts.local "concierge-llm.service";
            After = lib.optional parts.local "concierge-llm.service";
            StartLimitIntervalSec = 600;
            StartLimitBurst = 5;
          };
          Service = {
            Type = "exec";
            Environment = pairs apiEnvironment;
            ExecStartPre = [
              "${pkgs.coreutils}/bin/mkdir -p ${folder}"
            ]
            ++ lib.optional makesToken "${parts.makeSecret} ${token}";
            ExecStart = "${parts.api} ${token}${lib.optionalString usesKey " ${key}"}";
            ExecStartPost = "${parts.apiReady}";
            TimeoutStartSec = "2min";
            Restart = "on-failure";
            RestartSec = 5;
          };
          Install.WantedBy = [ "default.target" ];
        };
      }
      // lib.optionalAttrs parts.local {
        concierge-llm = {
          Unit = {
            Description = "LLM server of concierge";
            StartLimitIntervalSec = 600;
            StartLimitBurst = 5;
          };
          Service = {
            Type = "exec";
            Environment = pairs parts.llmEnvironment;
            ExecStartPre = "${parts.makeSecret} ${key}";
            ExecStart = "${parts.llm} ${key}";
            ExecStartPost = "${parts.llmReady} ${key}";
            TimeoutStartSec = "30min";
            Restart = "on-failure";
            RestartSec = 5;
          };
          Install.WantedBy = [ "default.target" ];
        };
      }
    );

    launchd.agents = mkIf (!isLinux) (
      import ./launchd.nix {
        inherit
          lib
          pkgs
          cfg
          parts
          ;
        wrap = config: {
          enable = true;
          inherit config;
        };
      }
    );
  };
}
