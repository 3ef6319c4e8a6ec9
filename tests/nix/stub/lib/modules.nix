# A module system of the size that this project's tests need: options, types, priorities, conditions, imports.
# An option that is not declared, a value of the wrong type and two values that disagree are errors, as in nixpkgs.
{ lib }:
let
  isKind = kind: value: builtins.isAttrs value && value._type or null == kind;

  # mkIf and mkMerge disappear; mkOverride stays around the value.
  discharge =
    value:
    if isKind "if" value then
      if value.condition then discharge value.content else [ ]
    else if isKind "merge" value then
      builtins.concatMap discharge value.contents
    else
      [ value ];

  # The same for a set of definitions, whose conditions hold for each of its attributes.
  pushDown =
    value:
    if isKind "if" value then
      map (builtins.mapAttrs (
        _: content: {
          _type = "if";
          inherit (value) condition;
          inherit content;
        }
      )) (pushDown value.content)
    else if isKind "merge" value then
      builtins.concatMap pushDown value.contents
    else
      [ value ];

  priority = value: if isKind "override" value then value.priority else 100;
  content = value: if isKind "override" value then value.content else value;

  mergeDefinitions =
    place: type: definitions:
    let
      found = builtins.concatMap discharge definitions;
      strongest = builtins.foldl' (lowest: value: lib.min lowest (priority value)) 9999 found;
      values = map content (builtins.filter (value: priority value == strongest) found);
      wrong = builtins.filter (value: !type.check value) values;
    in
    if wrong != [ ] then
      throw "A definition for option `${place}` is not of type `${type.name}`."
    else
      type.merge place values;

  isOption = isKind "option";

  evalOptions =
    place: options: definitions:
    let
      below = builtins.zipAttrsWith (_: found: found) (builtins.concatMap pushDown definitions);
      # A condition that is false leaves its names behind; only names with a value are unknown.
      present = name: builtins.concatMap discharge below.${name} != [ ];
      unknown = builtins.filter (name: !(options ? ${name}) && present name) (builtins.attrNames below);
      here = name: if place == "" then name else "${place}.${name}";
      value =
        name: option:
        if isOption option then
          let
            defaults =
              if option ? default then
                [
                  {
                    _type = "override";
                    priority = 1500;
                    content = option.default;
                  }
                ]
              else
                [ ];
            all = below.${name} or [ ] ++ defaults;
          in
          if builtins.concatMap discharge all == [ ] then
            throw "The option `${here name}` was accessed but has no value defined."
          else
            mergeDefinitions (here name) option.type all
        else
          evalOptions (here name) option (below.${name} or [ ]);
    in
    if unknown != [ ] then
      throw "The option `${here (builtins.head unknown)}` does not exist."
    else
      builtins.mapAttrs value options;

  mergeOptions =
    left: right:
    left
    // builtins.mapAttrs (
      name: option:
      if left ? ${name} then
        if isOption option || isOption left.${name} then
          throw "The option `${name}` is declared twice."
        else
          mergeOptions left.${name} option
      else
        option
    ) right;
in
{
  min = a: b: if a < b then a else b;
  inherit
    discharge
    mergeDefinitions
    evalOptions
    pushDown
    ;

  mkOption =
    {
      type,
      default ? null,
      defaultText ? null,
      example ? null,
      description,
      internal ? false,
      readOnly ? false,
    }@option:
    option // { _type = "option"; };
  mkEnableOption = name: {
    _type = "option";
    type = lib.types.bool;
    default = false;
    description = "Whether to enable ${name}.";
  };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkDefault = content: {
    _type = "override";
    priority = 1000;
    inherit content;
  };
  mkForce = content: {
    _type = "override";
    priority = 50;
    inherit content;
  };

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // {
        inherit lib config;
      };
      load =
        module:
        let
          applied = if builtins.isPath module then load (import module) else null;
          raw = if builtins.isFunction module then module arguments else module;
          whole =
            if raw ? config || raw ? options then
              raw
            else
              {
                imports = raw.imports or [ ];
                config = removeAttrs raw [ "imports" ];
              };
        in
        if applied != null then
          applied
        else
          builtins.concatMap load (raw.imports or [ ])
          ++ [
            {
              options = whole.options or { };
              config = whole.config or { };
            }
          ];
      loaded = builtins.concatMap load modules;
      options = builtins.foldl' mergeOptions { } (map (module: module.options) loaded);
      config = evalOptions "" options (map (module: module.config) loaded);
    in
    {
      inherit config options;
    };
}
