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
    own.users.users.someone = {
      isSystemUser = true;
      group = "people";
    };
    own.users.groups.people = { };
    beside.services.ollama.enable = true;
    settings.services.concierge.settings.run.max_steps = 40;
    whichever.services.concierge = {
      engine = "remote";
      model = "auto";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    named.services.concierge = {
      engine = "remote";
      settings.llm.base_url = "http://gpu.example:8000/v1";
      settings.llm.model = "qwen3.5-9b";
    };
    # An LLM port that nothing here opens is in nobody's way.
    shared.services.concierge = {
      engine = "remote";
      model = "qwen3.5-9b";
      settings.llm.base_url = "http://127.0.0.1:11435/v1";
    };
    shared.services.ollama.enable = true;
    shared.services.ollama.port = 11435;
    nested.services.concierge.stateDir = "/var/lib/ai/concierge";
    ports.services.concierge.port = 1024;
    ports.services.concierge.llmPort = 1025;
    parallel.services.concierge.extraArguments = [
      "--parallel"
      "4"
    ];
    kept.services.concierge.models = [ "smollm2-135m" ];
    sixth.services.concierge.host = "::1";
    credential.services.concierge.apiTokenFile = "%t/secrets/token";
    path.services.concierge = {
      model = "/srv/models/mine.gguf";
      memoryMax = null;
    };
    homely.services.concierge.stateDir = "/homework/concierge";

    # Each of these must be refused in a sentence.
    reachable.services.concierge.host = "0.0.0.0";
    closed.services.concierge.openFirewall = true;
    secret.services.concierge.settings.api.token = "hunter2";
    nowhere.services.concierge.engine = "remote";
    nowhere.services.concierge.model = "auto";
    twice.services.concierge.settings.llm.base_url = "http://127.0.0.1:1/v1";
    port.services.concierge.settings.api.port = 1;
    metal.services.concierge.acceleration = "metal";
    unknown.services.concierge.model = "qwen0";
    unknownToo.services.concierge.models = [ "qwen0" ];
    clash.services.concierge.llmPort = 8787;
    stored.services.concierge.apiTokenFile = "${builtins.toFile "token" "hunter2"}";
    relative.services.concierge.apiTokenFile = "secrets/token";
    privileged.services.concierge.port = 80;
    unrooted.services.concierge.stateDir = "state/concierge";
    everybodys.services.concierge.stateDir = "/tmp/concierge";
    lowLlm.services.concierge.llmPort = 80;
    ollamaApi.services.concierge.port = 11434;
    ollamaApi.services.ollama.enable = true;
    otherToken.services.concierge.apiTokenFile = "$HOME/token";
    run.services.concierge.stateDir = "/run/user/1000/concierge";
    file.services.concierge = {
      engine = "remote";
      model = pkgs.writeText "tiny.gguf" "GGUF";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    homeModel.services.concierge.model = "/home/ada/mine.gguf";
    relativeModel.services.concierge.model = "models/mine.gguf";
    ollamaPath.services.concierge = {
      engine = "ollama";
      model = "/srv/models/mine.gguf";
    };
    remotePath.services.concierge = {
      engine = "remote";
      model = "/srv/models/mine.gguf";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    home.services.concierge.stateDir = "/home/ada/concierge";
    nobody.services.concierge.user = "someone";
    noGroup.services.concierge.group = "people";
    ollamaToo.services.concierge.llmPort = 11434;
    ollamaToo.services.ollama.enable = true;
    ignored.services.concierge = {
      engine = "ollama";
      extraArguments = [ "--parallel" ];
    };
    idle.services.concierge = {
      engine = "remote";
      model = "auto";
      acceleration = "cuda";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    unnamed.services.concierge = {
      engine = "remote";
      settings.llm.base_url = "http://gpu.example:8000/v1";
    };
    opened.services.concierge.extraArguments = [
      "--host"
      "0.0.0.0"
    ];
    openedToo.services.concierge.extraArguments = [ "--host=0.0.0.0" ];
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
    client = config.environment.etc."concierge/concierge.toml".source;
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
