{
  lib,
  python313,
  installShellFiles,
  # Where the launcher finds the engines that belong to this very release; null leaves the `nix` source out.
  flake ? null,
}:
let
  dependencies = import ./python.nix;
  files =
    names:
    lib.fileset.toSource {
      root = ../.;
      # What is missing in a checkout is simply not there.
      fileset = lib.fileset.unions (map lib.fileset.maybeMissing names);
    };
  sources = [
    ../LICENSE
    ../README.md
    ../pyproject.toml
    ../src
  ];
  read = [
    ../CHANGELOG.md
    ../requirements.lock
    ../requirements-dev.lock
    ../bootstrap.sh
    ../bench
    ../docs
    ../examples
    ./driver-env.sh
    ../scripts
    ../tests
    ../tools
  ];
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../src/concierge/__init__.py)
  );

  # A person who wants to run it waits for no test: they are a check of their own.
  suite = concierge.overridePythonAttrs {
    pname = "concierge-tests";
    src = files (sources ++ read);
    doCheck = true;
    nativeCheckInputs = [ python313.pkgs.pytestCheckHook ] ++ dependencies.test python313.pkgs;
    disabledTestMarks = [
      "field" # starts the installed program
      "nix" # there is no Nix inside a build
      "real" # needs the engine and the model
      "slow"
      "sweep"
    ];
  };

  concierge = python313.pkgs.buildPythonApplication {
    pname = "concierge";
    inherit version;
    pyproject = true;

    src = files sources;

    build-system = [ python313.pkgs.hatchling ];
    dependencies = dependencies.runtime python313.pkgs;
    # Its upper bound is about speed; nixpkgs has one version, and it may be a newer one.
    pythonRelaxDeps = [ "typer" ];

    nativeBuildInputs = [ installShellFiles ];
    doCheck = false;
    passthru.tests = { inherit suite; };
    pythonImportsCheck = [ "concierge" ];

    makeWrapperArgs = lib.optionals (flake != null) [
      "--set-default"
      "CONCIERGE_FLAKE"
      "${flake}"
    ];

    # After the wrapper exists, so that what a person will run is what describes itself.
    postFixup = ''
      export HOME=$TMPDIR
      for shell in bash zsh fish; do
        _CONCIERGE_COMPLETE=source_$shell $out/bin/concierge > concierge.$shell
      done
      installShellCompletion --bash --name concierge concierge.bash
      installShellCompletion --zsh --name _concierge concierge.zsh
      installShellCompletion --fish --name concierge.fish concierge.fish
      ${python313.interpreter} ${./man-page.py} $out/bin/concierge ${version} > concierge.1
      installManPage concierge.1
    '';

    meta = {
      description = "The same local LLM agent stack on every machine, with one command";
      license = lib.licenses.asl20;
      mainProgram = "concierge";
      platforms = lib.platforms.unix;
    };
  };
in
concierge
