# The options of NixOS that concierge's module sets or reads, and no others.
{
  system,
  modules,
}:
let
  pkgs = import ../.. { inherit system; };
  inherit (pkgs) lib;
in
lib.evalModules {
  specialArgs = { inherit pkgs; };
  modules = [ (import ./options.nix) ] ++ modules;
}
