# services.concierge on NixOS: the LLM and the API are two units of one static user, and only the LLM sees the GPU.
{ flake }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkIf mkOption types;
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
  hardening = devices: import ./hardening.nix { inherit lib devices; };

  # What ProtectHome takes away.
  hidden = [
    "/home"
    "/root"
    "/run/user"
  ];
  unseen = path: lib.any (folder: lib.hasPrefix "${folder}/" "${path}/") hidden;

  # systemd makes and owns folders below /var/lib; any other one is made by tmpfiles.
  below = lib.hasPrefix "/var/lib/" cfg.stateDir;
  state =
    if below then
      {
        StateDirectory = lib.removePrefix "/var/lib/" cfg.stateDir;
        StateDirectoryMode = "0700";
      }
    else
      { ReadWritePaths = [ cfg.stateDir ]; };

  common = {
    User = cfg.user;
    Group = cfg.group;
    Type = "exec";
    Restart = "on-failure";
    RestartSec = 5;
    TimeoutStopSec = 30;
  };
  # A start that fails five times in ten minutes needs a person.
  limits = {
    StartLimitIntervalSec = 600;
    StartLimitBurst = 5;
  };

  key = "/run/concierge-llm/key";
  makesToken = cfg.apiTokenFile == null;
  token = if makesToken then "/run/concierge/token" else "%d/token";
  usesKey = cfg.engine == "llama-cpp";
in
{
  options.services.concierge =
    import ./options.nix {
      inherit
        lib
        pkgs
        config
        scope
        ;
      stateDir = "/var/lib/concierge";
    }
    // {
      user = mkOption {
        type = types.str;
        default = "concierge";
        description = "User that both units run as; made when it is the default.";
      };
      group = mkOption {
        type = types.str;
        default = "concierge";
        description = "Group that both units run as, whose members may use the LLM and the API; made when it is the default.";
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
        description = "Open `port` for other machines. The LLM's own port is never opened.";
      };
      denyWriteExecute = mkOption {
        type = types.bool;
        default = true;
        description = "Refuse memory that is both writable and executable. A driver's compiler may need it off.";
      };
      memoryMax = mkOption {
        type = types.nullOr types.str;
        default = "90%";
        example = "24G";
        description = ''
          Memory that the LLM may take, in the words of systemd's `MemoryMax`: above it the LLM is ended, and not
          the machine's other services. `null` sets no limit.
        '';
      };
      cudaCache.enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Trust cache.nixos-cuda.org for CUDA builds, which cache.nixos.org may not hold. Not an official NixOS
          project; without it, CUDA engines are compiled here.
        '';
      };
    };

  config = mkIf cfg.enable {
    assertions =
      import ./assertions.nix {
        inherit
          lib
          pkgs
          config
          cfg
          parts
          scope
          ;
        tokenStarts = [ "%" ];
      }
      ++ [
        {
          assertion =
            cfg.openFirewall -> cfg.host != "127.0.0.1" && cfg.host != "::1" && cfg.host != "localhost";
          message = "services.concierge.openFirewall is on, but the API listens on ${cfg.host} alone. Set services.concierge.host to 0.0.0.0 or to an address of this machine.";
        }
        {
          assertion = !unseen cfg.stateDir;
          message = "services.concierge.stateDir is ${cfg.stateDir}, and the units see nothing below ${lib.concatStringsSep ", " hidden}. Use a folder such as /var/lib/concierge or /srv/concierge.";
        }
        {
          assertion = !(parts.isPath && unseen cfg.model);
          message = "services.concierge.model is ${toString cfg.model}, and the units see nothing below ${lib.concatStringsSep ", " hidden}. Move the file to a folder such as /srv/models.";
        }
        {
          assertion = config.users.users ? ${cfg.user};
          message = "services.concierge.user is ${cfg.user}, and nothing here defines that user. Add users.users.${cfg.user}, or leave it at concierge, which is made.";
        }
        {
          assertion = config.users.groups ? ${cfg.group};
          message = "services.concierge.group is ${cfg.group}, and nothing here defines that group. Add users.groups.${cfg.group}, or leave it at concierge, which is made.";
        }
      ];

    services.concierge.resolvedAcceleration =
      if cfg.acceleration != "auto" then
        cfg.acceleration
      else if config.hardware.graphics.enable then
        "vulkan"
      else
        "cpu";

    users.users = mkIf (cfg.user == "concierge") {
      concierge = {
        isSystemUser = true;
        inherit (cfg) group;
        home = cfg.stateDir;
      };
    };
    users.groups = mkIf (cfg.group == "concierge") { concierge = { }; };

    environment.systemPackages = [ cfg.package ];
    # Whoever is in the group has an LLM with `concierge run`, and nobody else its key.
    environment.etc."concierge/concierge.toml".source = parts.client key;
    system.extraDependencies = parts.keep;
    networking.firewall = mkIf cfg.openFirewall { allowedTCPPorts = [ cfg.port ]; };
    nix.settings = mkIf cfg.cudaCache.enable {
      substituters = [ "https://cache.nixos-cuda.org" ];
      trusted-public-keys = [ "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M=" ];
    };
    systemd.tmpfiles.rules = lib.optional (!below) "d ${cfg.stateDir} 0700 ${cfg.user} ${cfg.group} -";

    systemd.services.concierge-llm = mkIf parts.local {
      description = "LLM server of concierge";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      environment = parts.llmEnvironment // {
        HOME = "%S/concierge-llm";
      };
      unitConfig =
        limits
        // lib.optionalAttrs parts.isPath {
          RequiresMountsFor = cfg.model;
          AssertPathExists = cfg.model;
        };
      serviceConfig =
        hardening cfg.gpuDevices
        // common
        // {
          ExecStartPre = "${parts.makeSecret} ${key}";
          ExecStart = "${parts.llm} ${key}";
          ExecStartPost = "${parts.llmReady} ${key}";
          # Large models are read from slow disks before the first token.
          TimeoutStartSec = "30min";
          RuntimeDirectory = "concierge-llm";
          RuntimeDirectoryPreserve = "restart"; # the API keeps the key that it read
          RuntimeDirectoryMode = "0750";
          # Compiled GPU kernels are kept here.
          StateDirectory = "concierge-llm";
          StateDirectoryMode = "0700";
          MemoryDenyWriteExecute = cfg.denyWriteExecute;
          IPAddressDeny = "any";
          IPAddressAllow = "localhost";
        }
        // lib.optionalAttrs (cfg.memoryMax != null) { MemoryMax = cfg.memoryMax; };
    };

    systemd.services.concierge = {
      description = "HTTP API of concierge";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      requires = lib.optional parts.local "concierge-llm.service";
      after = [ "network-online.target" ] ++ lib.optional parts.local "concierge-llm.service";
      environment = parts.environment // {
        CONCIERGE_CONFIG_PATH = "${parts.config}";
        HOME = cfg.stateDir;
      };
      unitConfig = limits;
      serviceConfig =
        hardening [ ]
        // common
        // state
        // lib.optionalAttrs makesToken { ExecStartPre = "${parts.makeSecret} ${token}"; }
        // lib.optionalAttrs (!makesToken) { LoadCredential = "token:${cfg.apiTokenFile}"; }
        // {
          ExecStart = "${parts.api} ${token}${lib.optionalString usesKey " ${key}"}";
          ExecStartPost = "${parts.apiReady}";
          TimeoutStartSec = "2min";
          RuntimeDirectory = "concierge";
          RuntimeDirectoryPreserve = "restart";
          RuntimeDirectoryMode = "0750";
          WorkingDirectory = cfg.stateDir;
        };
    };
  };
}
