# A small stand-in for nixpkgs. It knows the packages, the functions and the override arguments that
# docs/nix.md records for nixpkgs 26.05, and nothing else: a wrong name fails here as it would there.
{
  system,
  config ? { },
  overlays ? [ ],
}:
let
  lib = import ./lib;
  host = import ./host.nix;
  onLinux = lib.hasSuffix "-linux" system;

  callWith =
    set: file: arguments:
    let
      f = if builtins.isPath file then import file else file;
      found = f (builtins.intersectAttrs (lib.functionArgs f) set // arguments);
    in
    if builtins.isAttrs found then
      found // { override = extra: callWith set f (arguments // extra); }
    else
      found;

  build =
    name: environment: buildCommand:
    derivation (
      removeAttrs environment [
        "passthru"
        "meta"
        "nativeBuildInputs"
      ]
      // {
        inherit name system buildCommand;
        builder = "/bin/sh";
        args = [ ./setup.sh ];
        tools = environment.nativeBuildInputs or [ ];
      }
    )
    // {
      inherit name;
      passthru = environment.passthru or { };
      meta = environment.meta or { };
    }
    // environment.passthru or { };

  # A package whose programs only say who they are and what they see.
  program =
    {
      pname,
      version ? "1.0",
      programs ? [ pname ],
      extra ? "",
      meta ? { },
      passthru ? { },
    }:
    build "${pname}-${version}"
      {
        inherit passthru;
        meta = {
          mainProgram = builtins.head programs;
          license = lib.licenses.mit;
          platforms = lib.platforms.unix;
        }
        // meta;
      }
      ''
        mkdir -p $out/bin
        for name in ${toString programs}; do
          printf '#!/bin/sh\necho "%s $*"\nenv\n' $name > $out/bin/$name
          chmod 755 $out/bin/$name
        done
        ${extra}
      ''
    // {
      inherit pname version;
    };

  # Packages that are asked for variants: `override` takes exactly what the package's function takes.
  overridable =
    f: arguments:
    f arguments
    // {
      override = {
        __functor = _self: extra: overridable f (arguments // extra);
        __functionArgs = builtins.functionArgs f;
      };
    };

  ollama = overridable (
    {
      acceleration ? null,
      cudaArches ? [ ],
      rocmGpuTargets ? [ ],
    }:
    assert builtins.elem acceleration [
      null
      false
      "rocm"
      "cuda"
      "vulkan"
    ];
    program {
      pname = "ollama";
      version = "0.32.3";
      meta.license = lib.licenses.mit;
      passthru.acceleration =
        if acceleration == null && config.cudaSupport or false then "cuda" else acceleration;
    }
  );

  llamaCpp = overridable (
    {
      cudaSupport ? config.cudaSupport or false,
      rocmSupport ? config.rocmSupport or false,
      rocmGpuTargets ? [ ],
      cpuArchDynamicDispatch ? true,
      openclSupport ? false,
      metalSupport ? !onLinux,
      vulkanSupport ? false,
      rpcSupport ? false,
    }:
    program {
      pname = "llama-cpp";
      version = "9190";
      programs = [
        "llama"
        "llama-server"
        "llama-cli"
      ];
      # A program of the host's that really serves, where a test asks for one.
      extra = "touch $out/bin/libggml-cpu.so${
        lib.optionalString (host ? server) "; cp ${host.server} $out/bin/llama-server"
      }";
      passthru = {
        inherit
          cudaSupport
          vulkanSupport
          rocmSupport
          cpuArchDynamicDispatch
          ;
      };
    }
  );

  unfree =
    package:
    if (config.allowUnfreePredicate or (_: false)) { meta.license = [ lib.licenses.cuda ]; } then
      package
    else
      throw "CUDA is unfree and was not allowed.";
  ifCuda = package: if config.cudaSupport or false then unfree package else package;

  pythonPackages = lib.genAttrs [
    "fastapi"
    "hatchling"
    "httpx"
    "hypothesis"
    "mypy"
    "nvidia-ml-py"
    "pip"
    "pathspec"
    "platformdirs"
    "psutil"
    "pydantic"
    "pytest"
    "pytest-cov"
    "pytestCheckHook"
    "respx"
    "rich"
    "typer"
    "types-psutil"
    "uvicorn"
    "zstandard"
  ] (name: program { pname = name; });

  # Unlike a Python package from nixpkgs it compiles and tests nothing: the source runs on the host's Python.
  buildPythonApplication =
    arguments:
    pythonApplication arguments
    // {
      overridePythonAttrs = changed: buildPythonApplication (arguments // changed);
    };
  pythonApplication =
    {
      pname,
      version,
      pyproject,
      src,
      build-system,
      dependencies,
      pythonRelaxDeps,
      nativeBuildInputs,
      doCheck ? true,
      nativeCheckInputs ? [ ],
      disabledTestMarks ? [ ],
      passthru,
      pythonImportsCheck,
      makeWrapperArgs,
      postFixup,
      meta,
    }:
    assert pyproject;
    build "${pname}-${version}"
      {
        inherit
          meta
          nativeBuildInputs
          makeWrapperArgs
          postFixup
          ;
        src = "${src}";
        passthru = passthru // {
          inherit
            dependencies
            pythonRelaxDeps
            doCheck
            nativeCheckInputs
            ;
        };
        inputs = build-system ++ dependencies ++ nativeCheckInputs;
      }
      ''
        mkdir -p $out/bin
        {
          echo '#!/bin/sh'
          set -- $makeWrapperArgs
          while [ $# -gt 0 ]; do
            [ "$1" = --set-default ] || exit 1
            echo "export $2=\''${$2-$3}"
            shift 3
          done
          echo "export PYTHONPATH=$src/src PYTHONDONTWRITEBYTECODE=1"
          # As an installed script starts it: the name that completions go by is the script's own.
          printf '%s\n' "exec ${host.python} -c 'import sys; sys.argv[0] = \"${pname}\"; import concierge.__main__ as edge; edge.main()' \"\$@\""
        } > $out/bin/${pname}
        chmod 755 $out/bin/${pname}
        cd $TMPDIR
        ${lib.optionalString (host.describe or false) "eval \"$postFixup\""}
      ''
    // {
      inherit pname version;
    };

  fetchPypi =
    {
      pname,
      version,
      format ? "setuptools",
      sha256 ? "",
      hash ? "",
      dist ? "py2.py3",
      python ? "py2.py3",
      abi ? "none",
      platform ? "any",
    }:
    assert format == "wheel";
    derivation {
      name = "${pname}-${version}-${python}-${abi}-${platform}.whl";
      url = "http://index.invalid/${dist}/${pname}-${version}-${python}-${abi}-${platform}.whl";
      builder = "builtin:fetchurl";
      system = "builtin";
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256 + hash;
      executable = false;
      unpack = false;
    };

  tomlText =
    let
      value =
        item:
        if builtins.isList item then
          "[${lib.concatMapStringsSep ", " value item}]"
        else
          builtins.toJSON item;
      table =
        path: set:
        let
          tables = lib.filterAttrs (_: builtins.isAttrs) set;
          leaves = lib.filterAttrs (_: item: !builtins.isAttrs item) set;
        in
        lib.optionalString (path != [ ]) "[${builtins.concatStringsSep "." path}]\n"
        + builtins.concatStringsSep "" (lib.mapAttrsToList (name: item: "${name} = ${value item}\n") leaves)
        + builtins.concatStringsSep "" (lib.mapAttrsToList (name: table (path ++ [ name ])) tables);
    in
    table [ ];

  base = self: {
    inherit
      lib
      system
      config
      buildPythonApplication
      fetchPypi
      ;
    path = ./.;
    callPackage = callWith self;
    stdenv.hostPlatform = {
      inherit system;
      isLinux = onLinux;
      isDarwin = !onLinux;
      isAarch64 = lib.hasPrefix "aarch64" system;
    };
    runtimeShell = "/bin/sh";

    runCommand = build;
    writeText =
      name: text:
      build name {
        inherit text;
        passAsFile = [ "text" ];
      } "cp $textPath $out";
    writeShellScript =
      name: text:
      build name {
        text = "#!/bin/sh\n${text}";
        passAsFile = [ "text" ];
      } "cp $textPath $out; chmod 755 $out";
    writeShellScriptBin =
      name: text:
      build name {
        text = "#!/bin/sh\n${text}";
        passAsFile = [ "text" ];
      } "mkdir -p $out/bin; cp $textPath $out/bin/${name}; chmod 755 $out/bin/${name}";
    linkFarm =
      name: entries:
      build name { } (
        "mkdir -p $out\n"
        + lib.concatMapStringsSep "\n" (
          entry: "mkdir -p \"$(dirname $out/${entry.name})\"; ln -s ${entry.path} $out/${entry.name}"
        ) entries
      );
    symlinkJoin =
      { name, paths }:
      build name { }
        "mkdir -p $out\n${
          lib.concatMapStringsSep "\n" (path: "cp -rs ${path}/. $out/; chmod -R u+w $out") paths
        }";
    formats.toml =
      { }:
      {
        type = lib.types.attrsOf lib.types.anything;
        generate = name: value: self.writeText name (tomlText value);
      };
    mkShell =
      {
        packages,
        env,
        shellHook,
      }:
      # `nix develop` wants bash for the builder, and sources what a stdenv sets up.
      derivation (
        env
        // {
          name = "nix-shell";
          inherit system packages shellHook;
          builder = "/bin/bash";
          outputs = [ "out" ];
          args = [
            "-c"
            "PATH=/usr/bin:/bin; touch $out"
          ];
          stdenv = ./shell;
        }
      );
    dockerTools.buildLayeredImage =
      {
        name,
        tag,
        contents,
        fakeRootCommands,
        config,
      }:
      build "${name}.tar.gz" {
        inherit contents;
        config = builtins.toJSON config;
      } "echo \"$config\" > $out";
    testers.runNixOSTest =
      {
        name,
        nodes,
        testScript,
      }:
      build "vm-test-run-${name}" {
        inherit testScript;
        nodes = builtins.toJSON (builtins.attrNames nodes);
      } "touch $out";

    python313 = program { pname = "python3"; } // {
      interpreter = host.python;
      pkgs = pythonPackages // {
        inherit buildPythonApplication fetchPypi;
      };
      withPackages =
        f:
        program {
          pname = "python3-env";
          extra = ''
            echo ${toString (f pythonPackages)} > $out/packages
            printf '#!/bin/sh\nexec ${host.python} "$@"\n' > $out/bin/python3
            chmod 755 $out/bin/python3
          '';
        };
    };
    installShellFiles = program { pname = "install-shell-files"; };

    ollama = ifCuda (ollama { });
    ollama-cpu = ollama { acceleration = false; };
    ollama-cuda = unfree (ollama {
      acceleration = "cuda";
    });
    ollama-rocm = ollama { acceleration = "rocm"; };
    ollama-vulkan = ollama { acceleration = "vulkan"; };
    llama-cpp = ifCuda (llamaCpp { });
    llama-cpp-rocm = llamaCpp { rocmSupport = true; };
    llama-cpp-vulkan = llamaCpp { vulkanSupport = true; };
    vulkan-loader = program { pname = "vulkan-loader"; };
    mesa = program {
      pname = "mesa";
      extra = "mkdir -p $out/share/vulkan/icd.d; cd $out/share/vulkan/icd.d; touch radeon_icd.json intel_icd.json lvp_icd.json";
    };
    cacert = program { pname = "cacert"; };
    # The sandbox has the host's own.
    coreutils = build "coreutils" { } "mkdir $out; ln -s /usr/bin $out/bin";
    curl = build "curl" { meta.mainProgram = "curl"; } "mkdir $out; ln -s /usr/bin $out/bin";
    unzip = build "unzip" { } ''
      mkdir -p $out/bin
      {
        echo '#!${host.python}'
        echo 'import shutil, sys, zipfile'
        echo 'assert sys.argv[1] == "-p"'
        echo 'with zipfile.ZipFile(sys.argv[2]) as archive, archive.open(sys.argv[3]) as member:'
        echo '    shutil.copyfileobj(member, sys.stdout.buffer)'
      } > $out/bin/unzip
      chmod 755 $out/bin/unzip
    '';
    ruff = program { pname = "ruff"; };
    uv = program { pname = "uv"; };
    nixfmt = program { pname = "nixfmt"; };
    nixfmt-tree = program { pname = "treefmt"; };
  };

  fix =
    f:
    let
      self = f self;
    in
    self;
  extend =
    f: overlay: self:
    let
      previous = f self;
    in
    previous // overlay self previous;
in
assert builtins.all (
  name:
  builtins.elem name [
    "cudaSupport"
    "allowUnfreePredicate"
  ]
) (builtins.attrNames config);
fix (builtins.foldl' extend base overlays)
