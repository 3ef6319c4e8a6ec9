# The options of services.concierge, the same on NixOS, in home-manager and in nix-darwin.
{
  lib,
  pkgs,
  config,
  scope,
  # Where state is kept on this kind of system.
  stateDir,
}:
let
  inherit (lib) mkOption types literalExpression;
  cfg = config.services.concierge;
  toml = pkgs.formats.toml { };
in
{
  enable = lib.mkEnableOption "concierge, a local LLM with an agent's HTTP API before it";

  package = mkOption {
    type = types.package;
    default = scope.concierge;
    defaultText = literalExpression "the concierge of this flake, built with this system's packages";
    description = "The concierge to run.";
  };

  engine = mkOption {
    type = types.enum [
      "llama-cpp"
      "ollama"
      "remote"
    ];
    default = "llama-cpp";
    description = ''
      The program that serves the model. `remote` starts none: `settings.llm.base_url` says where it is.
    '';
  };

  acceleration = mkOption {
    type = types.enum [
      "auto"
      "cpu"
      "cuda"
      "rocm"
      "vulkan"
      "metal"
    ];
    default = "auto";
    description = ''
      What computes. `auto` is Metal on a Mac, Vulkan where `hardware.graphics` is on, else the CPU: the best
      that is free software and that the configuration itself can know. CUDA is unfree and asked for by name.
    '';
  };

  enginePackage = mkOption {
    type = types.package;
    default = scope.engines.${cfg.engine}.${cfg.resolvedAcceleration};
    defaultText = literalExpression "the engine of this flake for `engine` and `acceleration`";
    description = "Package with `bin/llama-server` or `bin/ollama`.";
  };

  resolvedAcceleration = mkOption {
    type = types.str;
    internal = true;
    readOnly = true;
    description = "What `acceleration` came to.";
  };

  model = mkOption {
    type = types.either types.package types.str;
    default = scope.defaultModel;
    example = literalExpression ''"qwen3.5-9b"'';
    description = ''
      The model to serve: a name in concierge's catalogue, whose file Nix then fetches by its hash; a package
      that is a GGUF file; the whole path of a GGUF file that is there when the service starts; or, with `remote`,
      the name that the server uses.
    '';
  };

  models = mkOption {
    type = types.listOf types.str;
    default = [ ];
    example = [ "smollm2-135m" ];
    description = ''
      Further catalogue models to have on this machine. Ollama serves them too; for `llama-cpp` they are only kept
      in the Nix store, so that changing `model` later needs no network.
    '';
  };

  context = mkOption {
    type = types.ints.between 256 1048576;
    default = 8192;
    description = "Tokens that one request may use.";
  };

  host = mkOption {
    type = types.str;
    default = "127.0.0.1";
    description = "Address that the HTTP API listens on; anything but loopback needs `apiTokenFile`.";
  };

  port = mkOption {
    type = types.port;
    default = 8787;
    description = "Port of the HTTP API.";
  };

  llmPort = mkOption {
    type = types.port;
    default = 11435;
    description = "Port of the LLM server, on loopback only.";
  };

  apiTokenFile = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "/run/secrets/concierge-token";
    description = ''
      File with the bearer token that clients send, read at start and never copied into the Nix store.
      Without one, a fresh token is made at every start, in `token` of the runtime folder.
    '';
  };

  stateDir = mkOption {
    type = types.str;
    default = stateDir;
    description = "Folder for runs and everything else that is kept.";
  };

  environment = mkOption {
    type = types.attrsOf types.str;
    default = { };
    example = {
      HSA_OVERRIDE_GFX_VERSION = "10.3.0";
    };
    description = "Variables for the LLM server and for concierge.";
  };

  gpuDevices = mkOption {
    type = types.listOf types.str;
    default =
      {
        cuda = [
          "char-nvidia"
          "char-nvidiactl"
          "char-nvidia-caps"
          "char-nvidia-frontend"
          "char-nvidia-uvm"
          "/dev/dxg"
        ];
        rocm = [
          "char-drm"
          "char-kfd"
        ];
        vulkan = [
          "char-drm"
          "char-nvidia"
          "char-nvidiactl"
          "char-nvidia-caps"
          "char-nvidia-frontend"
          "char-nvidia-uvm"
          "/dev/dxg"
        ];
      }
      .${cfg.resolvedAcceleration} or [ ];
    defaultText = literalExpression "what the acceleration needs, and nothing else";
    description = "Devices that the LLM server may open, in the words of systemd's `DeviceAllow`.";
  };

  extraArguments = mkOption {
    type = types.listOf types.str;
    default = [ ];
    example = [
      "--parallel"
      "4"
    ];
    description = "Further arguments for `llama-server`.";
  };

  settings = mkOption {
    type = types.submodule { freeformType = toml.type; };
    default = { };
    example = {
      run.max_steps = 40;
    };
    description = ''
      `concierge.toml`, as docs/configuration.md describes it. The program itself checks it while the system is
      built: an unknown key or a wrong value fails the build with concierge's own message.
    '';
  };
}
