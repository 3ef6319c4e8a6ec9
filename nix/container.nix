# The fabric alone: the LLM stays on the host, where it has the GPU, and is reached through CONCIERGE_LLM_BASE_URL.
{
  lib,
  dockerTools,
  cacert,
  concierge,
}:
dockerTools.buildLayeredImage {
  name = "concierge";
  tag = concierge.version;
  contents = [ concierge ];
  # The folder that a volume is mounted over must belong to the user inside.
  fakeRootCommands = ''
    mkdir -p data tmp
    chown 1000:1000 data
    chmod 1777 tmp
  '';
  config = {
    Entrypoint = [ (lib.getExe concierge) ];
    Cmd = [ "serve" ];
    User = "1000:1000";
    WorkingDir = "/data";
    Volumes."/data" = { };
    ExposedPorts."8787/tcp" = { };
    Env = [
      "HOME=/data"
      "CONCIERGE_HOME=/data/home"
      "CONCIERGE_WORKSPACE=/data/workspace"
      # Other containers and the host reach it from outside, so it needs CONCIERGE_API_TOKEN.
      "CONCIERGE_API_HOST=0.0.0.0"
      "CONCIERGE_LLM_LOCAL_LLM_ENSURE_AVAILABLE=false"
      "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt"
    ];
  };
}
