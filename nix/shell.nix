{
  mkShell,
  python313,
  nixfmt-tree,
  ruff,
  uv,
  engine,
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
in
mkShell {
  packages = [
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
    export PYTHONPATH=$PWD/src''${PYTHONPATH:+:$PYTHONPATH}
  '';
}
