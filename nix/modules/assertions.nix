# What cannot work, said in plain sentences before anything is built.
{
  lib,
  pkgs,
  cfg,
  parts,
  scope,
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
    assertion = parts.local && !parts.isPackage -> lib.elem cfg.model known;
    message = "services.concierge.model ${toString cfg.model} is not in the catalogue. It knows: ${list}. A GGUF file of your own is given as a package.";
  }
  {
    assertion = lib.all (name: lib.elem name known) cfg.models;
    message = "services.concierge.models names a model that is not in the catalogue. It knows: ${list}.";
  }
  {
    assertion = !(cfg.engine == "ollama" && parts.isPackage);
    message = "services.concierge.engine ollama needs a model of the catalogue: a file alone does not say how its conversations are written. Use llama-cpp for a file of your own.";
  }
  {
    assertion = cfg.port != cfg.llmPort;
    message = "services.concierge.port and services.concierge.llmPort are both ${toString cfg.port}. Change one.";
  }
]
