# A folder that any web server can offer as Nix's `hashed-mirrors`, and that people without a network can carry:
# sha256/<hex> for every artefact of a lock (or of a catalogue file, which has the same tables).
{ pkgs }:
{
  lock,
  # Names of models to keep; null keeps all.
  only ? null,
}:
let
  inherit (pkgs) lib;
  artefacts = import ./artefact.nix { inherit pkgs; };
  document = builtins.fromTOML (builtins.readFile lock);
  models = lib.filter (entry: only == null || lib.elem entry.name only) (document.model or [ ]);
  all = lib.concatMap (entry: entry.artefact) (models ++ document.build or [ ]);
  files = lib.foldl' (
    found: artefact:
    found // artefacts.pieces artefact // { ${artefact.sha256} = artefacts.fetch artefact; }
  ) { } all;
in
pkgs.linkFarm "concierge-mirror" (
  lib.mapAttrsToList (sha256: path: {
    name = "sha256/${sha256}";
    inherit path;
  }) files
)
