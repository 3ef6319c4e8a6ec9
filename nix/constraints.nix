# The Python packages of this nixpkgs that concierge and its tests stand on, as a file of pip constraints.
{ pkgs }:
let
  inherit (pkgs) lib;
  dependencies = import ./python.nix;
  python = pkgs.python313.pkgs;
  wanted = dependencies.runtime python ++ dependencies.test python ++ [ python.pytest ];
  all = lib.filter (each: each.pname != "python3") (python.requiredPythonModules wanted);
  line = each: "${each.pname}==${each.version}\n";
  head = lib.concatMapStrings (each: "# ${each}\n") [
    "What the locked nixpkgs has of the Python packages that concierge and its tests stand on: constraints for pip."
    "nix eval --raw .#legacyPackages.x86_64-linux.constraints >nix/constraints.txt"
  ];
in
head + lib.concatStrings (lib.sort lib.lessThan (lib.unique (map line all)))
