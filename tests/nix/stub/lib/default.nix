# The functions of nixpkgs' lib that concierge uses, with their documented behaviour. A name that is not here fails.
let
  modules = import ./modules.nix { inherit lib; };
  types = import ./types.nix { inherit lib; };

  lib =
    builtins
    // modules
    // {
      inherit types;

      genAttrs =
        names: f:
        builtins.listToAttrs (
          map (name: {
            inherit name;
            value = f name;
          }) names
        );
      filterAttrs =
        keep: set:
        builtins.listToAttrs (
          builtins.concatMap (
            name:
            if keep name set.${name} then
              [
                {
                  inherit name;
                  value = set.${name};
                }
              ]
            else
              [ ]
          ) (builtins.attrNames set)
        );
      mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
      nameValuePair = name: value: { inherit name value; };
      optionalAttrs = condition: set: if condition then set else { };
      recursiveUpdate =
        left: right:
        left
        // builtins.mapAttrs (
          name: value:
          if builtins.isAttrs value && builtins.isAttrs (left.${name} or null) then
            lib.recursiveUpdate left.${name} value
          else
            value
        ) right;
      functionArgs = f: f.__functionArgs or (builtins.functionArgs f);
      isFunction = f: builtins.isFunction f || (builtins.isAttrs f && f ? __functor);

      foldl' = builtins.foldl';
      optional = condition: value: if condition then [ value ] else [ ];
      optionals = condition: list: if condition then list else [ ];
      toList = value: if builtins.isList value then value else [ value ];
      unique = builtins.foldl' (
        found: value: if builtins.elem value found then found else found ++ [ value ]
      ) [ ];

      concatMapStringsSep =
        separator: f: list:
        builtins.concatStringsSep separator (map f list);
      optionalString = condition: text: if condition then text else "";
      hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
      hasSuffix =
        suffix: text:
        let
          rest = builtins.stringLength text - builtins.stringLength suffix;
        in
        rest >= 0 && builtins.substring rest (-1) text == suffix;
      hasInfix = infix: text: builtins.length (builtins.split (lib.escapeRegex infix) text) > 1;
      escapeRegex =
        builtins.replaceStrings
          [
            "."
            "["
            "]"
            "*"
            "+"
            "?"
            "("
            ")"
            "|"
            "^"
            "$"
            "\\"
          ]
          [
            "\\."
            "\\["
            "\\]"
            "\\*"
            "\\+"
            "\\?"
            "\\("
            "\\)"
            "\\|"
            "\\^"
            "\\$"
            "\\\\"
          ];
      removePrefix =
        prefix: text:
        if lib.hasPrefix prefix text then
          builtins.substring (builtins.stringLength prefix) (-1) text
        else
          text;
      removeSuffix =
        suffix: text:
        if lib.hasSuffix suffix text then
          builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text
        else
          text;
      splitString =
        separator: text:
        builtins.filter builtins.isString (builtins.split (lib.escapeRegex separator) text);
      stringLength = builtins.stringLength;
      strings.sanitizeDerivationName =
        builtins.replaceStrings
          [ " " "(" ")" "~" ":" ]
          [ "-" "-" "-" "-" "-" ];
      escapeShellArg =
        value:
        let
          text = toString value;
        in
        if builtins.match "[[:alnum:],._+:@%/-]+" text != null then
          text
        else
          "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
      escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;

      assertMsg = condition: message: condition || throw message;
      boolToString = value: if value then "true" else "false";
      getBin = package: package.bin or package.out or package;
      getLib = package: package.lib or package.out or package;
      getExe' = package: name: "${lib.getBin package}/bin/${name}";
      getExe =
        package:
        lib.getExe' package (package.meta.mainProgram or (throw "${package.name} names no main program"));

      licenses = {
        asl20 = {
          shortName = "asl20";
          free = true;
        };
        mit = {
          shortName = "mit";
          free = true;
        };
        cuda = {
          shortName = "CUDA EULA";
          free = false;
        };
      };
      platforms.unix = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];

      fileset = {
        # A file set here is a list of paths; a lone path is one too.
        unions = lib.flatten;
        maybeMissing = path: if builtins.pathExists path then [ path ] else [ ];
        toSource =
          { root, fileset }:
          let
            wanted = map toString (builtins.filter (path: !builtins.isList path) (lib.flatten fileset));
            inside =
              path:
              builtins.any (
                want: lib.hasPrefix "${want}/" "${path}/" || lib.hasPrefix "${path}/" "${want}/"
              ) wanted;
          in
          {
            outPath = builtins.path {
              path = root;
              name = "source";
              filter = path: _type: inside path;
            };
          };
      };
      flatten = value: if builtins.isList value then builtins.concatMap lib.flatten value else [ value ];
    };
in
lib
