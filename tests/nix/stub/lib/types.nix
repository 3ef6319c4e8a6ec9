# Option types: each says what it accepts and how several definitions become one value.
{ lib }:
let
  one =
    place: values:
    if builtins.length values == 1 || builtins.all (value: value == builtins.head values) values then
      builtins.head values
    else
      throw "The option `${place}` has conflicting definitions.";

  plain = name: check: {
    inherit name check;
    merge = one;
  };

  types = {
    bool = plain "boolean" builtins.isBool;
    str = plain "string" builtins.isString;
    int = plain "integer" builtins.isInt;
    port = plain "port" (value: builtins.isInt value && value >= 0 && value <= 65535);
    ints.between =
      low: high:
      plain "integer ${toString low}-${toString high}" (
        value: builtins.isInt value && value >= low && value <= high
      );
    path = plain "path" (
      value: builtins.isPath value || (builtins.isString value && lib.hasPrefix "/" value)
    );
    package = plain "package" (value: builtins.isAttrs value && value.type or null == "derivation");
    enum = allowed: plain "one of ${builtins.toJSON allowed}" (value: builtins.elem value allowed);
    anything = {
      name = "anything";
      check = _: true;
      merge =
        place: values:
        if builtins.all builtins.isAttrs values then
          builtins.foldl' lib.recursiveUpdate { } values
        else
          one place values;
    };
    nullOr =
      inner:
      inner
      // {
        name = "null or ${inner.name}";
        check = value: value == null || inner.check value;
      };
    either = left: right: {
      name = "${left.name} or ${right.name}";
      check = value: left.check value || right.check value;
      merge = one;
    };
    oneOf = builtins.foldl' types.either (plain "nothing" (_: false));
    listOf = inner: {
      name = "list of ${inner.name}";
      check = value: builtins.isList value && builtins.all inner.check value;
      merge = _: builtins.concatLists;
    };
    attrsOf = inner: {
      name = "attribute set of ${inner.name}";
      check = builtins.isAttrs;
      merge =
        place: values:
        builtins.mapAttrs (name: found: lib.mergeDefinitions "${place}.${name}" inner found) (
          # A name whose every definition is under a false condition is not there.
          lib.filterAttrs (_: found: builtins.concatMap lib.discharge found != [ ]) (
            builtins.zipAttrsWith (_: found: found) (builtins.concatMap lib.pushDown values)
          )
        );
    };
    submodule = module: {
      name = "submodule";
      check = builtins.isAttrs;
      merge =
        place: values:
        if module ? freeformType then
          module.freeformType.merge place values
        else
          lib.evalOptions place module.options values;
    };
  };
in
types
