# What cannot work, said in plain sentences before anything is built.
{
  lib,
  pkgs,
  config,
  cfg,
  parts,
  scope,
  # What this kind of system replaces at the start of a path, so that it is a whole path all the same.
  tokenStarts,
  stateStarts ? [ ],
}:
let
  inherit (pkgs.stdenv.hostPlatform) system isLinux;
  loopback = lib.elem cfg.host [
    "127.0.0.1"
    "::1"
    "localhost"
  ];
  known = lib.attrNames scope.models;
  list = lib.concatStringsSep ", " known;
  accelerators = {
    cuda = isLinux;
    rocm = system == "x86_64-linux";
    vulkan = isLinux;
    metal = !isLinux;
    cpu = isLinux;
  };
  api = parts.settings.api or { };
  llm = parts.settings.llm or { };
  # Arguments that the module gives itself, so that units, readiness checks and settings agree.
  own = [
    "--host"
    "--port"
    "--model"
    "-m"
    "--alias"
    "-a"
    "--ctx-size"
    "-c"
    "--api-key"
    "--api-key-file"
  ];
  absolute = starts: path: lib.any (start: lib.hasPrefix start path) ([ "/" ] ++ starts);
  within = folder: lib.hasPrefix "${folder}/" "${cfg.stateDir}/";
  everybodys = lib.filter within [
    "/Users/Shared"
    "/dev/shm"
    "/private/tmp"
    "/tmp"
    "/var/tmp"
  ];
  # What only an engine that is started here would read.
  idle =
    lib.optional (cfg.models != [ ]) "models"
    ++ lib.optional (cfg.acceleration != "auto") "acceleration"
    ++ lib.optional parts.isFile "a model that is a file";
  overruled = lib.filter (
    argument: lib.any (name: argument == name || lib.hasPrefix "${name}=" argument) own
  ) cfg.extraArguments;
  ollama = config.services.ollama or { };
  taken = ollama.enable or false;
  ports = [ cfg.port ] ++ lib.optional parts.local cfg.llmPort;
in
[
  {
    assertion = loopback || cfg.apiTokenFile != null;
    message = "services.concierge.host is ${cfg.host}, which other machines can reach. Set services.concierge.apiTokenFile to a file with a token, or leave host at 127.0.0.1.";
  }
  {
    assertion = !(api ? token) && !(llm ? api_key);
    message = "services.concierge.settings holds a secret, and everybody on this machine can read the Nix store. Use services.concierge.apiTokenFile, or settings.llm.api_key_env with a variable.";
  }
  {
    assertion = api.host == cfg.host && api.port == cfg.port;
    message = "services.concierge.settings.api sets host or port. Set services.concierge.host and services.concierge.port instead, so that the firewall and the readiness check agree.";
  }
  {
    assertion = parts.local -> cfg.settings.llm.base_url or null == null;
    message = "services.concierge.settings.llm.base_url is set, but engine ${cfg.engine} is started here. Set services.concierge.engine to remote, or remove base_url.";
  }
  {
    assertion = !parts.local -> llm ? base_url;
    message = "services.concierge.engine is remote, so nothing is started here. Set services.concierge.settings.llm.base_url to the server to use.";
  }
  {
    assertion = parts.local -> accelerators.${cfg.resolvedAcceleration};
    message = "services.concierge.acceleration ${cfg.resolvedAcceleration} does not exist on ${system}. Use auto.";
  }
  {
    assertion = parts.local && !parts.isFile -> lib.elem cfg.model known;
    message = "services.concierge.model ${toString cfg.model} is not in the catalogue. It knows: ${list}. A GGUF file of your own is given as a package or by its whole path.";
  }
  {
    assertion = lib.all (name: lib.elem name known) cfg.models;
    message = "services.concierge.models names a model that is not in the catalogue. It knows: ${list}.";
  }
  {
    assertion = !(cfg.engine == "ollama" && parts.isFile);
    message = "services.concierge.engine ollama needs a model of the catalogue: a file alone does not say how its conversations are written. Use llama-cpp for a file of your own.";
  }
  {
    assertion = cfg.port != cfg.llmPort;
    message = "services.concierge.port and services.concierge.llmPort are both ${toString cfg.port}. Change one.";
  }
  {
    assertion = lib.all (port: port >= 1024) ports;
    message = "services.concierge.port or services.concierge.llmPort is below 1024, which only root may listen on, and nothing here runs as root. Choose a port from 1024 on.";
  }
  {
    assertion = taken -> !lib.elem ollama.port ports;
    message = "services.concierge would listen on port ${toString (ollama.port or 0)}, which services.ollama has. Change services.concierge.port or services.concierge.llmPort, or set services.concierge.engine to remote to use that Ollama.";
  }
  {
    assertion = cfg.apiTokenFile != null -> absolute tokenStarts cfg.apiTokenFile;
    message = "services.concierge.apiTokenFile is ${toString cfg.apiTokenFile}, and a service has no folder that this could start from. Give the whole path.";
  }
  {
    assertion = cfg.apiTokenFile != null -> !lib.hasPrefix builtins.storeDir cfg.apiTokenFile;
    message = "services.concierge.apiTokenFile is in the Nix store, which everybody on this machine can read. Give the path of a file outside of it as text in quotes, such as \"/run/secrets/concierge-token\".";
  }
  {
    assertion = absolute stateStarts cfg.stateDir;
    message = "services.concierge.stateDir is ${cfg.stateDir}, and a service has no folder that this could start from. Give the whole path.";
  }
  {
    assertion = everybodys == [ ];
    message = "services.concierge.stateDir is ${cfg.stateDir}, and everybody on this machine can write to ${toString everybodys}. Name a folder that one user owns.";
  }
  {
    assertion = overruled == [ ];
    message = "services.concierge.extraArguments has ${lib.concatStringsSep ", " overruled}, which the module sets itself. Use llmPort, model or context of services.concierge; the LLM listens on loopback alone.";
  }
  {
    assertion = cfg.extraArguments != [ ] -> cfg.engine == "llama-cpp";
    message = "services.concierge.extraArguments are for llama-server, and engine is ${cfg.engine}, which would ignore them. Remove them, or set services.concierge.engine to llama-cpp.";
  }
  {
    assertion = parts.local || idle == [ ];
    message = "services.concierge.engine is remote, which starts nothing here and would ignore ${lib.concatStringsSep " and " idle}. Remove that, or choose an engine that is started here.";
  }
  {
    assertion = parts.local || cfg.settings ? llm.model || cfg.model != scope.defaultModel;
    message = "services.concierge.engine is remote, and model is still the default, which that server hardly serves. Set services.concierge.model to a name that it lists, or to auto where it serves one model only.";
  }
]
