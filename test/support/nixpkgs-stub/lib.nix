# Functions of nixpkgs' lib under their names, each written as plainly as it can be.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    isList
    length
    stringLength
    substring
    ;
in
rec {
  inherit (builtins)
    any
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    ;

  importJSON = file: builtins.fromJSON (builtins.readFile file);

  # The last release that knows all four systems.
  trivial.release = "26.05";
  versionOlder = one: other: builtins.compareVersions one other == -1;

  # Texts
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      rest = stringLength text - stringLength suffix;
    in
    rest >= 0 && substring rest (stringLength suffix) text == suffix;
  removePrefix =
    prefix: text:
    if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
  # Only for separators that mean themselves in a regular expression, as those of ours do.
  splitString = separator: text: filter builtins.isString (builtins.split separator text);
  optionalString = condition: text: if condition then text else "";
  fixedWidthNumber =
    width: number:
    let
      text = toString number;
    in
    concatStringsSep "" (genList (_: "0") (width - stringLength text)) + text;
  toInt = text: builtins.fromJSON (elemAt (builtins.match "0*([0-9]+)" text) 0);
  makeLibraryPath = packages: concatStringsSep ":" (map (package: "${package}/lib") packages);

  # Lists
  last = list: elemAt list (length list - 1);
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  toList = value: if isList value then value else [ value ];
  unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
  imap0 = f: list: genList (index: f index (elemAt list index)) (length list);

  # Sets
  genAttrs =
    names: f:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  filterAttrs = keep: set: genAttrs (filter (name: keep name set.${name}) (attrNames set)) (name: set.${name});
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  optionalAttrs = condition: set: if condition then set else { };

  # Files
  fileset = {
    unions = files: files;
    toSource =
      { root, fileset }:
      let
        isBelow = folder: file: folder == file || hasPrefix "${folder}/" file;
      in
      {
        outPath = builtins.path {
          path = root;
          name = "source";
          filter = file: _: builtins.any (wanted: isBelow (toString wanted) file || isBelow file (toString wanted)) fileset;
        };
      };
  };

  # Packages
  licenses.mit.spdxId = "MIT";
  platforms = {
    linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    darwin = [
      "x86_64-darwin"
      "aarch64-darwin"
    ];
  };

  # Modules, as nixos.nix beside this file understands them
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkOption = option: option // { _type = "option"; };
  mkEnableOption =
    description:
    mkOption {
      type = types.bool;
      default = false;
      inherit description;
    };
  literalExpression = text: { inherit text; };
  literalMD = literalExpression;
  # A type is the question whether a value belongs to it.
  types = {
    attrs = builtins.isAttrs;
    bool = builtins.isBool;
    package = value: value.type or "" == "derivation";
    path = value: builtins.isPath value || value ? outPath || builtins.isString value && hasPrefix "/" value;
    str = builtins.isString;
    attrsOf = type: value: builtins.isAttrs value && builtins.all type (builtins.attrValues value);
    either = one: other: value: one value || other value;
    listOf = type: value: isList value && builtins.all type value;
    nullOr = type: value: value == null || type value;
  };
}
