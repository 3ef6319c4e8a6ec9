# Every engine × accelerator, each from the nixpkgs instance whose builds the public caches hold.
{ pkgs, importNixpkgs }:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system isLinux isAarch64;
  wrap = pkgs.callPackage ./wrap-engine.nix { };

  cudaLicences = [
    "CUDA EULA"
    "cuDNN EULA"
    "cuSPARSELt EULA"
    "cuTENSOR EULA"
    "NVidia OptiX EULA"
  ];
  # Default capabilities on purpose: any other set is in no cache and compiles for an hour.
  cudaPkgs = importNixpkgs {
    cudaSupport = true;
    allowUnfreePredicate =
      package:
      lib.all (licence: licence.free or false || lib.elem (licence.shortName or "") cudaLicences) (
        lib.toList package.meta.license
      );
  };

  # Releases differ in what they let one override; an argument that is not there is not needed there.
  overrideKnown =
    package: arguments:
    package.override (builtins.intersectAttrs (lib.functionArgs package.override) arguments);

  # CUDA's newest GCC cannot compile the newest ARM CPU plug-ins.
  cudaLlama =
    if isAarch64 then
      overrideKnown cudaPkgs.llama-cpp { cpuArchDynamicDispatch = false; }
    else
      cudaPkgs.llama-cpp;

  only =
    condition: accelerator: engine:
    if condition then
      engine
    else
      throw "concierge has no ${accelerator} engine for ${system}: see the table in docs/nix.md.";

  variants =
    engine: packages:
    let
      built = lib.mapAttrs (accelerator: package: wrap { inherit engine accelerator package; }) packages;
    in
    built // { native = if isLinux then built.cpu else built.metal; };

  onLinux = only isLinux;
  onX86Linux = only (system == "x86_64-linux");
  onDarwin = only (!isLinux);
in
{
  # There is no top-level llama-cpp-cuda: the whole instance is asked for CUDA, as the cache's own jobs do.
  llama-cpp = variants "llama-cpp" {
    cpu = onLinux "cpu" pkgs.llama-cpp;
    cuda = onLinux "cuda" cudaLlama;
    rocm = onX86Linux "rocm" pkgs.llama-cpp-rocm;
    vulkan = onLinux "vulkan" pkgs.llama-cpp-vulkan;
    metal = onDarwin "metal" pkgs.llama-cpp;
  };
  ollama = variants "ollama" {
    cpu = onLinux "cpu" pkgs.ollama-cpu;
    cuda = onLinux "cuda" cudaPkgs.ollama;
    rocm = onX86Linux "rocm" pkgs.ollama-rocm;
    vulkan = onLinux "vulkan" pkgs.ollama-vulkan;
    metal = onDarwin "metal" pkgs.ollama;
  };
}
