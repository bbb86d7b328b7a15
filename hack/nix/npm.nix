# package.json and package-lock.json with what a build needs and nothing else, for nixpkgs' importNpmLock.
#
# The lockfile has the hash of each package and not its address, so that npm asks whichever registry it is set up for:
# the public address is added here. What only tests and tools need is left out. That is most of the bytes, and among it
# the package `node`, whose binary does not run where there is no /lib64/ld-linux.
{
  lib,
  # As npm names it: { platform = "linux"; arch = "x64"; }
  platform,
}:
let
  package = lib.importJSON ../../package.json;
  lock = lib.importJSON ../../package-lock.json;

  isForBuild = name: name == "esbuild";
  devDependencies = lib.filterAttrs (name: _: isForBuild name) package.devDependencies;

  # Node's rule: a package is looked for in the node_modules beside the one that asks, then further up.
  find =
    place: name:
    let
      here = lib.removePrefix "/" "${place}/node_modules/${name}";
      outer = builtins.match "(.*)/node_modules/.*" place;
    in
    if lock.packages ? ${here} then
      [ here ]
    else if place == "" then
      [ ]
    else
      find (if outer == null then "" else builtins.head outer) name;

  runsHere =
    { os ? [ platform.platform ], cpu ? [ platform.arch ], ... }:
    builtins.elem platform.platform os && builtins.elem platform.arch cpu;

  needs =
    place:
    {
      dependencies ? { },
      optionalDependencies ? { },
      peerDependencies ? { },
      ...
    }:
    map (key: { inherit key; }) (
      builtins.filter (key: runsHere lock.packages.${key}) (
        lib.concatMap (find place) (builtins.attrNames (dependencies // optionalDependencies // peerDependencies))
      )
    );

  needed = builtins.genericClosure {
    startSet = needs "" { dependencies = package.dependencies // devDependencies; };
    operator = { key }: needs key lock.packages.${key};
  };

  withAddress =
    key:
    let
      name = lib.last (lib.splitString "node_modules/" key);
      file = "${baseNameOf name}-${lock.packages.${key}.version}.tgz";
    in
    lock.packages.${key} // { resolved = "https://registry.npmjs.org/${name}/-/${file}"; };
in
{
  package = package // {
    inherit devDependencies;
  };
  packageLock = lock // {
    packages = {
      "" = lock.packages."" // {
        inherit devDependencies;
      };
    } // lib.genAttrs (map ({ key }: key) needed) withAddress;
  };
}
