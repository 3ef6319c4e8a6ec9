# shellcheck shell=sh
# Sourced by an engine's wrapper: lets a program built by Nix find the GPU driver of the system it runs on.
#
# In:  concierge_accelerator, concierge_coreutils (folder with mkdir and ln), concierge_mesa (or empty)
# Out: LD_LIBRARY_PATH or VK_DRIVER_FILES, for the engine alone.
#
# /run/opengl-driver is where Nix programs look by themselves: NixOS has it, home-manager can make it elsewhere.
# Without it, the driver's own libraries, and only those, are linked into a private folder. A folder of the host
# on LD_LIBRARY_PATH would bring the host's C library into a program that was built with another one.
# CONCIERGE_DRIVER_ROOT stands before every host path, for tests.

concierge_host=${CONCIERGE_DRIVER_ROOT-}

concierge_library() {
  for concierge_folder in /usr/lib/wsl/lib "/usr/lib/$("$concierge_coreutils/uname" -m)-linux-gnu" /usr/lib64 /usr/lib \
    "/usr/lib/$("$concierge_coreutils/uname" -m)-linux-gnu/nvidia/current" /usr/lib/nvidia /lib64; do
    if [ -e "$concierge_host$concierge_folder/$1" ]; then
      echo "$concierge_host$concierge_folder/$1"
      return
    fi
  done
  # Drivers that are installed elsewhere are known to the host's own loader.
  for concierge_ldconfig in "$concierge_host/sbin/ldconfig" "$concierge_host/usr/sbin/ldconfig"; do
    [ -x "$concierge_ldconfig" ] || continue
    "$concierge_ldconfig" -p 2>/dev/null | while read -r concierge_name concierge_rest; do
      case "$concierge_name $concierge_rest" in
        "$1 "*x86-64*' => '* | "$1 "*AArch64*' => '*) echo "${concierge_rest##* => }"; break ;;
      esac
    done
    return
  done
}

concierge_private_folder() {
  for concierge_parent in "${RUNTIME_DIRECTORY-}" "${CONCIERGE_HOME:+$CONCIERGE_HOME/run}" "${XDG_RUNTIME_DIR-}"; do
    if [ -n "$concierge_parent" ] && "$concierge_coreutils/mkdir" -p -m 700 "$concierge_parent/driver" 2>/dev/null; then
      echo "$concierge_parent/driver"
      return
    fi
  done
  "$concierge_coreutils/mktemp" -d
}

concierge_nvidia() {
  if [ -z "$(concierge_library libcuda.so.1)" ]; then
    echo "concierge: libcuda.so.1 of the NVIDIA driver is not on this system; the engine will compute on the CPU." >&2
    return
  fi
  concierge_links=$(concierge_private_folder)
  for concierge_soname in libcuda.so.1 libnvidia-ml.so.1 libnvidia-ptxjitcompiler.so.1 libnvidia-nvvm.so.4 \
    libnvidia-nvvm70.so.4 libnvidia-gpucomp.so libdxcore.so libd3d12.so libd3d12core.so; do
    concierge_found=$(concierge_library "$concierge_soname")
    [ -z "$concierge_found" ] || "$concierge_coreutils/ln" -sfn "$concierge_found" "$concierge_links/$concierge_soname"
  done
  export LD_LIBRARY_PATH="$concierge_links${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

# Mesa's user space works with every kernel that has the driver, if it comes from the same nixpkgs as the loader.
# lvp is left out: it is the CPU in disguise.
concierge_vulkan() {
  [ -z "${VK_DRIVER_FILES-}${VK_ICD_FILENAMES-}" ] || return 0
  for concierge_icd in "$concierge_mesa"/share/vulkan/icd.d/*.json; do
    case ${concierge_icd##*/} in
      lvp_* | '*.json') ;;
      *) VK_DRIVER_FILES=${VK_DRIVER_FILES:+$VK_DRIVER_FILES:}$concierge_icd ;;
    esac
  done
  concierge_nvidia_vulkan
  if [ -n "${VK_DRIVER_FILES-}" ]; then export VK_DRIVER_FILES; fi
}

# NVIDIA's driver is a Vulkan driver through its EGL library as well, which needs nothing of X11. It loads its parts
# by name, so they are linked beside it; the description that the loader reads is written anew, with that path.
concierge_nvidia_vulkan() {
  concierge_egl=$(concierge_library libEGL_nvidia.so.0)
  [ -n "$concierge_egl" ] || return 0
  concierge_links=$(concierge_private_folder)
  for concierge_found in "$concierge_egl" "${concierge_egl%/*}"/libnvidia-*.so.*; do
    [ ! -e "$concierge_found" ] || "$concierge_coreutils/ln" -sfn "$concierge_found" "$concierge_links/${concierge_found##*/}"
  done
  printf '{"file_format_version": "1.0.1", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
    "$concierge_links/libEGL_nvidia.so.0" >"$concierge_links/nvidia_icd.json"
  VK_DRIVER_FILES=${VK_DRIVER_FILES:+$VK_DRIVER_FILES:}$concierge_links/nvidia_icd.json
  export LD_LIBRARY_PATH="$concierge_links${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

if [ ! -e "$concierge_host/run/opengl-driver/lib" ]; then
  case $concierge_accelerator in
    cuda) concierge_nvidia ;;
    vulkan) concierge_vulkan ;;
    # ROCm's user space is in the package; the kernel's /dev/kfd is all it needs of the host.
    rocm) ;;
  esac
fi
