# What services.concierge turns into, for the configurations that the tests ask about.
{
  nixpkgs,
  project,
}:
let
  system = builtins.currentSystem;
  pkgs = import nixpkgs { inherit system; };
  inherit (pkgs) lib;
  module = import (project + "/nix/modules/nixos.nix") { flake = "/flake"; };
  secret = "/run/secrets/token";

  configurations = {
    default = { };
    graphics.hardware.graphics.enable = true;
    cuda.services.concierge = {
      acceleration = "cuda";
      cudaCache.enable = true;
    };
    rocm.services.concierge = {
      acceleration = "rocm";
      environment.HSA_OVERRIDE_GFX_VERSION = "10.3.0";
    };
    ollama.services.concierge.engine = "ollama";
    exposed.services.concierge = {
      host = "0.0.0.0";
      port = 9000;
      openFirewall = true;
      apiTokenFile = secret;
    };
    remote.services.concierge = {
      engine = "remote";
      model = "qwen3.5-9b";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    elsewhere.services.concierge.stateDir = "/srv/concierge";
    own.services.concierge.user = "someone";
    own.services.concierge.group = "people";
    settings.services.concierge.settings.run.max_steps = 40;

    # Each of these must be refused in a sentence.
    reachable.services.concierge.host = "0.0.0.0";
    closed.services.concierge.openFirewall = true;
    secret.services.concierge.settings.api.token = "hunter2";
    nowhere.services.concierge.engine = "remote";
    twice.services.concierge.settings.llm.base_url = "http://127.0.0.1:1/v1";
    port.services.concierge.settings.api.port = 1;
    metal.services.concierge.acceleration = "metal";
    unknown.services.concierge.model = "qwen0";
    unknownToo.services.concierge.models = [ "qwen0" ];
    clash.services.concierge.llmPort = 8787;
  };

  evaluate =
    extra:
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = [
        module
        {
          services.concierge.enable = true;
          boot.isContainer = true;
          system.stateVersion = "26.05";
        }
        extra
      ];
    }).config;

  value = item: if builtins.isBool item then lib.boolToString item else toString item;
  line =
    name: item:
    if builtins.isList item then
      lib.concatMapStringsSep "\n" (each: "${name}=${value each}") item
    else
      "${name}=${value item}";
  section =
    name: set: "[${name}]\n" + builtins.concatStringsSep "\n" (lib.mapAttrsToList line set) + "\n";
  unit =
    service:
    section "Unit" (
      {
        Description = service.description;
        Requires = service.requires;
        Wants = service.wants;
        After = service.after;
      }
      // service.unitConfig
    )
    + section "Service" (
      service.serviceConfig
      // {
        Environment = lib.mapAttrsToList (name: item: "\"${name}=${item}\"") service.environment;
      }
    )
    + section "Install" { WantedBy = service.wantedBy; };

  ours = lib.filterAttrs (name: _: lib.hasPrefix "concierge" name);
in
builtins.mapAttrs (
  _: extra:
  let
    config = evaluate extra;
    services = ours config.systemd.services;
  in
  {
    refused = map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions);
    facts = {
      services = builtins.mapAttrs (_: service: {
        inherit (service)
          requires
          after
          wantedBy
          environment
          serviceConfig
          unitConfig
          ;
      }) services;
      users = ours config.users.users;
      groups = builtins.attrNames (ours config.users.groups);
      ports = config.networking.firewall.allowedTCPPorts;
      tmpfiles = builtins.filter (lib.hasInfix "concierge") config.systemd.tmpfiles.rules;
      substituters = config.nix.settings.substituters or [ ];
      packages = builtins.filter (lib.hasInfix "concierge") (
        map (each: each.name) config.environment.systemPackages
      );
      acceleration = config.services.concierge.resolvedAcceleration;
    };
    # Complete files, whose programs exist. The model is a stand-in: no test that reads units needs its bytes.
    units =
      let
        model.services.concierge.model = lib.mkForce (pkgs.writeText "tiny.gguf" "GGUF");
        built =
          ours
            (evaluate {
              imports = [
                extra
                model
              ];
            }).systemd.services;
      in
      pkgs.linkFarm "units" (
        lib.mapAttrsToList (name: service: {
          name = "${name}.service";
          path = pkgs.writeText "${name}.service" (unit service);
        }) built
      );
  }
) configurations
