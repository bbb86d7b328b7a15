# For `nix-build` without flakes: the package of flake.nix, of the nixpkgs at hand.
{
  pkgs ? import <nixpkgs> { },
}:
pkgs.callPackage ./hack/nix/package.nix { }
