# One file, by its sha256, through Nix's own downloader: no program from nixpkgs takes part, so the store path depends
# on the name and the hash alone, netrc-file and proxies work, and `--option hashed-mirrors` finds the file on any
# server that answers /sha256/<hex>, such as the tree of nix/mirror.nix.
{
  name,
  url,
  sha256,
}:
derivation {
  inherit name url;
  urls = [ url ];
  builder = "builtin:fetchurl";
  system = "builtin";
  outputHashMode = "flat";
  outputHashAlgo = "sha256";
  outputHash = sha256;
  executable = false;
  unpack = false;
  preferLocalBuild = true;
  impureEnvVars = [
    "http_proxy"
    "https_proxy"
    "ftp_proxy"
    "all_proxy"
    "no_proxy"
  ];
}
