# What every kind of system runs: the checked configuration, the two commands, and what "answers" means.
{
  lib,
  pkgs,
  cfg,
  scope,
}:
let
  toml = pkgs.formats.toml { };
  local = cfg.engine != "remote";

  catalogued = name: scope.models.${name};
  isPackage = !lib.isString cfg.model;
  # A file that Nix does not know: it must be there when the service starts.
  isPath = !isPackage && lib.hasPrefix "/" cfg.model;
  isFile = isPackage || isPath;
  modelName =
    if isPackage then
      lib.removeSuffix ".gguf" cfg.model.name
    else if isPath then
      lib.removeSuffix ".gguf" (baseNameOf cfg.model)
    else
      cfg.model;
  modelFile =
    if isPackage then
      "${cfg.model}"
    else if isPath then
      cfg.model
    else
      (catalogued cfg.model).passthru.gguf;
  # Ollama names a model of the declarative store by the folder that its manifest is in.
  served = if cfg.engine == "ollama" then "localhost/concierge/${modelName}" else modelName;

  llmUrl = "http://127.0.0.1:${toString cfg.llmPort}";

  settings = lib.recursiveUpdate {
    llm = {
      model = served;
      inherit (cfg) context;
    }
    // lib.optionalAttrs local {
      base_url = "${llmUrl}/v1";
      # The LLM is a unit of its own; this process only ever connects to it.
      local_llm_ensure_available = false;
    };
    api = { inherit (cfg) host port; };
    workspace_root = "${cfg.stateDir}/workspace";
  } cfg.settings;

  ollamaModels = pkgs.symlinkJoin {
    name = "concierge-ollama-models";
    paths = map (name: scope.ollamaStore { model = catalogued name; }) (
      lib.unique ([ modelName ] ++ cfg.models)
    );
  };

  # Where a listener on every address can be reached from this machine.
  reachable =
    {
      "0.0.0.0" = "127.0.0.1";
      "::" = "[::1]";
    }
    .${cfg.host} or (if lib.hasInfix ":" cfg.host then "[${cfg.host}]" else cfg.host);

  curl = lib.getExe pkgs.curl;
  # systemd waits for this command even when the program it asks about has died.
  whileMainProcess = ''
    [ -z "''${MAINPID-}" ] || kill -0 "$MAINPID" 2> /dev/null || exit 1
      ${pkgs.coreutils}/bin/sleep 1'';
  random = "${pkgs.coreutils}/bin/head -c 24 /dev/urandom | ${pkgs.coreutils}/bin/base64 --wrap=0 | ${pkgs.coreutils}/bin/tr '+/' '-_'";
in
{
  inherit
    local
    settings
    modelName
    isPath
    isFile
    ;

  # Every file that must be here before the first start, so that the start needs no network.
  keep = lib.optionals local (map catalogued cfg.models);

  config = pkgs.runCommand "concierge.toml" { file = toml.generate "concierge.toml" settings; } ''
    export HOME=$TMPDIR CONCIERGE_CONFIG_PATH=$file
    ${lib.getExe cfg.package} config show > /dev/null
    cp $file $out
  '';

  # What a concierge on the same machine needs to find the LLM, as the machine's own concierge.toml. Argument: the key file.
  client =
    key:
    toml.generate "concierge-client.toml" {
      llm = {
        inherit (settings.llm) base_url model context;
      }
      // lib.optionalAttrs (cfg.engine == "llama-cpp") { api_key_file = key; };
    };

  environment = {
    CONCIERGE_HOME = "${cfg.stateDir}/home";
  }
  // cfg.environment;

  llmEnvironment =
    lib.optionalAttrs (cfg.engine == "ollama") {
      OLLAMA_HOST = "127.0.0.1:${toString cfg.llmPort}";
      OLLAMA_MODELS = "${ollamaModels}";
      OLLAMA_NOPRUNE = "1";
      OLLAMA_CONTEXT_LENGTH = toString cfg.context;
    }
    // cfg.environment;

  # A key for the LLM and a token for the API: files that this user writes and their group reads, and that a crash does
  # not change.
  makeSecret = pkgs.writeShellScript "concierge-secret" ''
    umask 027
    [ ! -s "$1" ] || exit 0
    ${pkgs.coreutils}/bin/mkdir -p "$(${pkgs.coreutils}/bin/dirname "$1")"
    ${random} > "$1.new" && ${pkgs.coreutils}/bin/mv "$1.new" "$1"
  '';

  # Arguments: the key file.
  llm = pkgs.writeShellScript "concierge-llm" (
    if cfg.engine == "ollama" then
      ''
        exec ${lib.getExe' cfg.enginePackage "ollama"} serve
      ''
    else
      ''
        exec ${
          lib.escapeShellArgs (
            [
              (lib.getExe' cfg.enginePackage "llama-server")
              "--host"
              "127.0.0.1"
              "--port"
              (toString cfg.llmPort)
              "--model"
              modelFile
              "--alias"
              served
              "--ctx-size"
              (toString cfg.context)
              "--jinja"
              "--no-webui"
            ]
            ++ cfg.extraArguments
          )
        } --api-key-file "$1"
      ''
  );

  # Ready means that one token came back. The caller bounds the time. Argument: the key file.
  llmReady = pkgs.writeShellScript "concierge-llm-ready" ''
    until printf 'header = "Authorization: Bearer %s"\n' "$(${pkgs.coreutils}/bin/cat "$1")" |
      ${curl} --config - --silent --fail --output /dev/null --max-time 120 \
        --header 'Content-Type: application/json' \
        --data ${
          lib.escapeShellArg (
            builtins.toJSON {
              model = served;
              max_tokens = 1;
              messages = [
                {
                  role = "user";
                  content = "Hi";
                }
              ];
            }
          )
        } ${llmUrl}/v1/chat/completions
    do
      ${whileMainProcess}
    done
  '';

  # Arguments: the token file, and the LLM's key file where there is one.
  api = pkgs.writeShellScript "concierge-api" ''
    CONCIERGE_API_TOKEN=$(${pkgs.coreutils}/bin/cat "$1") || exit 2
    export CONCIERGE_API_TOKEN
    if [ -n "''${2-}" ]; then
      CONCIERGE_LLM_API_KEY=$(${pkgs.coreutils}/bin/cat "$2") || exit 2
      export CONCIERGE_LLM_API_KEY
    fi
    exec ${lib.getExe cfg.package} serve
  '';

  apiReady = pkgs.writeShellScript "concierge-api-ready" ''
    until ${curl} --silent --fail --output /dev/null --max-time 10 \
      ${lib.escapeShellArg "http://${reachable}:${toString cfg.port}/health"}
    do
      ${whileMainProcess}
    done
  '';
}
