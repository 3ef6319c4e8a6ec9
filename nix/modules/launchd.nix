# The two jobs for launchd, which knows no order: each waits for what it needs and is started again when it ends.
{
  lib,
  pkgs,
  cfg,
  parts,
  # Turns a job's plist into what the importing module system wants.
  wrap,
}:
let
  makesToken = cfg.apiTokenFile == null;
  # Folder for the key, the token and the logs, as a word of the shell.
  run =
    if lib.hasPrefix "~/" cfg.stateDir then
      ''"$HOME"/${lib.escapeShellArg "${lib.removePrefix "~/" cfg.stateDir}/run"}''
    else
      lib.escapeShellArg "${cfg.stateDir}/run";
  key = "${run}/key";
  # Secret managers for one person write $HOME or $(getconf …), which the shell is to replace.
  token = if makesToken then "${run}/token" else ''"${cfg.apiTokenFile}"'';
  # launchd opens a log file but makes no folder for it.
  log = name: ''
    ${pkgs.coreutils}/bin/mkdir -p -m 700 ${run}
    exec >> ${run}/${name}.log 2>&1
  '';
  job =
    {
      name,
      script,
      environment,
    }:
    wrap {
      ProgramArguments = [ "${pkgs.writeShellScript name (log name + script)}" ];
      EnvironmentVariables = environment;
      RunAtLoad = true;
      KeepAlive.SuccessfulExit = false;
      # launchd's own limit on restarts: at most one start in this many seconds.
      ThrottleInterval = 30;
    };
in
{
  concierge = job {
    name = "concierge";
    environment = parts.environment // {
      CONCIERGE_CONFIG_PATH = "${parts.config}";
    };
    script = ''
      ${lib.optionalString makesToken "${parts.makeSecret} ${token}"}
      ${
        if cfg.engine == "llama-cpp" then
          ''
            until [ -s ${key} ]; do ${pkgs.coreutils}/bin/sleep 1; done
            ${parts.llmReady} ${key}
            exec ${parts.api} ${token} ${key}
          ''
        else
          "exec ${parts.api} ${token}"
      }
    '';
  };
}
// lib.optionalAttrs parts.local {
  concierge-llm = job {
    name = "concierge-llm";
    environment = parts.llmEnvironment;
    script = ''
      ${parts.makeSecret} ${key}
      exec ${parts.llm} ${key}
    '';
  };
}
