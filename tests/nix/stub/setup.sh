# Sourced by every builder of the stub: the hooks of nixpkgs that concierge uses. What is not known fails.
set -eu
export PATH=/usr/bin:/bin TMPDIR=${TMPDIR-/tmp}
for tool in $tools; do PATH=$tool/bin:$PATH; done

installShellCompletion() {
  while [ $# -gt 0 ]; do
    case $1 in
      --bash) folder=bash-completion/completions ;;
      --zsh) folder=zsh/site-functions ;;
      --fish) folder=fish/vendor_completions.d ;;
      *) echo "installShellCompletion: $1?" >&2; exit 1 ;;
    esac
    [ "$2" = --name ] || exit 1
    mkdir -p "$out/share/$folder"
    cp "$4" "$out/share/$folder/$3"
    shift 4
  done
}

installManPage() {
  mkdir -p "$out/share/man/man1"
  cp "$1" "$out/share/man/man1/"
}

# passAsFile = [ "script" ] becomes $scriptPath by Nix itself.
eval "$buildCommand"
