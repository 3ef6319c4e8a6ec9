# A read-only OLLAMA_MODELS folder that holds pinned files: a manifest and blobs that are links, so nothing is copied.
# The model's name is <registry>/<namespace>/<name>:<tag>. Set OLLAMA_NOPRUNE=1, or Ollama tries to tidy the folder.
{ pkgs }:
{
  model,
  registry ? "localhost",
  namespace ? "concierge",
  tag ? "latest",
  # Ollama renders with its own template language; the families of the catalogue are known here.
  template ? null,
}:
let
  inherit (pkgs) lib;
  inherit (model.passthru) entry;
  artefact = lib.head entry.artefact;
  family = entry.chat.template or "";

  known.chatml = ''
    {{- range .Messages }}<|im_start|>{{ .Role }}
    {{ .Content }}<|im_end|>
    {{ end }}<|im_start|>assistant
  '';
  text =
    if template != null then
      template
    else
      known.${family}
        or (throw "ollama-store: pass the Ollama template of ${entry.name}; its family “${family}” is not known here.");

  blob = mediaType: content: rec {
    digest = "sha256:${builtins.hashString "sha256" content}";
    size = lib.stringLength content;
    layer = { inherit mediaType digest size; };
    link = {
      name = "blobs/${builtins.replaceStrings [ ":" ] [ "-" ] digest}";
      path = pkgs.writeText "blob" content;
    };
  };

  templateBlob = blob "application/vnd.ollama.image.template" text;
  modelLayer = {
    mediaType = "application/vnd.ollama.image.model";
    digest = "sha256:${artefact.sha256}";
    inherit (artefact) size;
  };
  configBlob = blob "application/vnd.docker.container.image.v1+json" (
    builtins.toJSON {
      model_format = "gguf";
      model_family = entry.gguf.architecture;
      model_families = [ entry.gguf.architecture ];
      file_type = entry.quant;
      os = "linux";
      architecture = "amd64";
      rootfs = {
        type = "layers";
        diff_ids = [
          modelLayer.digest
          templateBlob.digest
        ];
      };
    }
  );
  manifest = builtins.toJSON {
    schemaVersion = 2;
    mediaType = "application/vnd.docker.distribution.manifest.v2+json";
    config = configBlob.layer;
    layers = [
      modelLayer
      templateBlob.layer
    ];
  };
in
assert lib.assertMsg (
  lib.length entry.artefact == 1
) "ollama-store: ${entry.name} comes in shards, which Ollama's manifests do not know.";
pkgs.linkFarm "ollama-models-${entry.name}" [
  {
    name = "manifests/${registry}/${namespace}/${entry.name}/${tag}";
    path = pkgs.writeText "manifest.json" manifest;
  }
  {
    name = "blobs/sha256-${artefact.sha256}";
    path = model;
  }
  configBlob.link
  templateBlob.link
]
