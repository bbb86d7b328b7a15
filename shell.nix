# For `nix-shell` without flakes: the development shell of flake.nix, of the nixpkgs at hand.
{
  pkgs ? import <nixpkgs> { },
}:
pkgs.callPackage ./hack/nix/shell.nix { }
