{ lib, ... }:
let
  inherit (lib) mkOption types;
  option =
    type: default:
    mkOption {
      inherit type default;
      description = "As in NixOS.";
    };
  section = types.attrsOf types.anything;
  unit = types.submodule {
    options = {
      description = option types.str "";
      wantedBy = option (types.listOf types.str) [ ];
      requires = option (types.listOf types.str) [ ];
      wants = option (types.listOf types.str) [ ];
      after = option (types.listOf types.str) [ ];
      environment = option (types.attrsOf types.str) { };
      unitConfig = option section { };
      serviceConfig = option section { };
    };
  };
  user = types.submodule {
    options = {
      isSystemUser = option types.bool false;
      group = option types.str "";
      home = option types.str "/var/empty";
    };
  };
in
{
  options = {
    assertions = option (types.listOf types.anything) [ ];
    boot.isContainer = option types.bool false;
    environment.systemPackages = option (types.listOf types.package) [ ];
    environment.etc = option (types.attrsOf types.anything) { };
    hardware.graphics.enable = option types.bool false;
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    nix.settings = option (types.attrsOf (types.listOf types.str)) { };
    services.ollama.enable = option types.bool false;
    services.ollama.port = option types.port 11434;
    system.extraDependencies = option (types.listOf types.anything) [ ];
    system.stateVersion = option types.str "26.05";
    systemd.services = option (types.attrsOf unit) { };
    systemd.tmpfiles.rules = option (types.listOf types.str) [ ];
    users.users = option (types.attrsOf user) { };
    users.groups = option (types.attrsOf types.anything) { };
  };
}
