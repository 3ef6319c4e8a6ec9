# Models as fixed-output files, from the same models.toml that Python reads: one place where a hash is written.
{
  pkgs,
  catalogue ? ../src/concierge/catalog/models.toml,
}:
let
  inherit (pkgs) lib;
  artefacts = import ./artefact.nix { inherit pkgs; };
  inherit (builtins.fromTOML (builtins.readFile catalogue)) model;

  # One file is itself; shards are a folder of them, under the names that let the engine find the others.
  assemble =
    entry: get:
    if lib.length entry.artefact == 1 then
      get (lib.head entry.artefact)
    else
      pkgs.linkFarm entry.name (
        map (artefact: {
          inherit (artefact) name;
          path = get artefact;
        }) entry.artefact
      );

  built =
    entry:
    let
      file = assemble entry artefacts.fetch;
      first = (lib.head entry.artefact).name;
    in
    file
    // {
      passthru = {
        inherit entry;
        # The path to give to an engine.
        gguf = if lib.length entry.artefact == 1 then "${file}" else "${file}/${first}";
        mirrored = assemble entry artefacts.mirrored;
      };
      meta.description = "${entry.title}, ${entry.quant} (${entry.licence})";
    };
in
lib.listToAttrs (map (entry: lib.nameValuePair entry.name (built entry)) model)
