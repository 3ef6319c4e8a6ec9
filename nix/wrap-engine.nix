# One command that finds its driver wherever Nix runs, and changes nothing else about the package.
#
# llama-server stays where its CPU and GPU plug-ins are: the wrapper executes it by its full path.
{
  lib,
  runCommand,
  runtimeShell,
  coreutils,
  vulkan-loader,
  mesa,
}:
{
  engine,
  accelerator,
  package,
}:
let
  # `llama` is the main program of llama-cpp; the server has to be named.
  command = if engine == "llama-cpp" then "llama-server" else "ollama";
  gpu = lib.elem accelerator [
    "cuda"
    "rocm"
    "vulkan"
  ];
  # nixpkgs computes this switch and this path for ollama-vulkan and then wraps only ROCm and CUDA.
  ollamaVulkan = lib.optionalString (engine == "ollama" && accelerator == "vulkan") ''
    export OLLAMA_VULKAN=''${OLLAMA_VULKAN-1}
    export LD_LIBRARY_PATH="''${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${lib.getLib vulkan-loader}/lib"
  '';
  driver = lib.optionalString gpu ''
    concierge_accelerator=${accelerator}
    concierge_coreutils=${coreutils}/bin
    concierge_mesa=${lib.optionalString (accelerator == "vulkan") "${mesa}"}
    . ${./driver-env.sh}
  '';
  script = ''
    #!${runtimeShell}
    ${driver}${ollamaVulkan}exec ${lib.getExe' package command} "$@"
  '';
in
runCommand "concierge-${engine}-${accelerator}-${package.version}"
  {
    inherit script;
    passAsFile = [ "script" ];
    passthru = {
      inherit package accelerator engine;
    };
    meta = {
      description = "${engine} for concierge, computing with ${accelerator}";
      mainProgram = command;
      inherit (package.meta) license platforms;
    };
  }
  ''
    mkdir -p $out/bin
    cp "$scriptPath" $out/bin/${command}
    chmod 755 $out/bin/${command}
  ''
