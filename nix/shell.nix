{
  mkShell,
  python313,
  writeShellScriptBin,
  nixfmt-tree,
  ruff,
  uv,
  engine,
  # The source to run where the shell is entered outside of a checkout.
  flake,
}:
let
  dependencies = import ./python.nix;
  python = python313.withPackages (
    ps:
    dependencies.runtime ps
    ++ dependencies.test ps
    ++ [
      ps.mypy
      ps.pytest
      ps.types-psutil
    ]
  );
  # -P: a folder that happens to be called concierge is not taken for it.
  concierge = writeShellScriptBin "concierge" ''
    exec ${python}/bin/python3 -P -c 'import sys; sys.argv[0] = "concierge"; from concierge.__main__ import main; main()' "$@"
  '';
in
mkShell {
  packages = [
    concierge
    python
    ruff
    uv
    nixfmt-tree
    engine
  ];
  # uv must neither fetch a Python nor make an environment beside this one.
  env = {
    UV_PYTHON_DOWNLOADS = "never";
    UV_NO_SYNC = "1";
  };
  shellHook = ''
    concierge_root=$PWD
    while [ -n "$concierge_root" ] && [ ! -e "$concierge_root/src/concierge/__init__.py" ]; do
      concierge_root=''${concierge_root%/*}
    done
    export PYTHONPATH=''${concierge_root:-${flake}}/src''${PYTHONPATH:+:$PYTHONPATH}
    unset concierge_root
  '';
}
