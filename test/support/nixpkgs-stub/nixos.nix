# What NixOS makes of one machine whose modules declare nothing but services.narwhal: options are checked and get their
# defaults, mkIf is decided. A configuration in which an assertion fails is refused with its message.
{
  lib,
  pkgs,
  machine,
}:
let
  arguments = {
    inherit config lib pkgs;
    # For words without spaces and quotes, as those of the tests are.
    utils.escapeSystemdExecArgs = words: lib.concatStringsSep " " (map toString words);
  };

  load =
    file:
    let
      module = import file arguments;
    in
    [ module ] ++ lib.concatMap load (module.imports or [ ]);
  modules = lib.concatMap load machine.imports;

  options = builtins.foldl' (all: module: all // (module.options.services.narwhal or { })) { } modules;
  given = machine.services.narwhal;
  values = builtins.mapAttrs (name: option: given.${name} or option.default) options;
  unknown = builtins.attrNames (removeAttrs given (builtins.attrNames options));
  wrong = lib.filter (name: !options.${name}.type values.${name}) (builtins.attrNames options);

  config.services.narwhal =
    if unknown != [ ] then
      throw "services.narwhal has no option ${toString unknown}"
    else if wrong != [ ] then
      throw "services.narwhal.${toString wrong} is not of its type"
    else
      values;

  decide =
    value:
    if !builtins.isAttrs value || value.type or "" == "derivation" then
      value
    else if value._type or "" == "if" then
      if value.condition then decide value.content else { }
    else
      builtins.mapAttrs (_: decide) value;

  result = builtins.foldl' (all: module: all // decide (module.config or { })) { } modules;
  failed = lib.filter ({ assertion, ... }: !assertion) (result.assertions or [ ]);
in
if failed == [ ] then result else throw (lib.concatStringsSep "\n" (map ({ message, ... }: message) failed))
