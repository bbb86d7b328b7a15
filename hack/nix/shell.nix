# What is needed to work on Narwhal: Node and a compiler for its one addon, and what tests start that npm cannot bring.
{
  lib,
  stdenv,
  mkShell,
  actionlint,
  bzip2,
  etcd,
  go,
  kind,
  kubectl,
  kubernetes-helm,
  lz4,
  nginx,
  nix,
  nodejs_24,
  openssl,
  postgresql,
  python3,
  wrk,
  xz,
  zstd,
}:
mkShell (
  {
    packages = [
      actionlint
      bzip2
      etcd
      go
      kind
      kubectl
      kubernetes-helm
      lz4
      nginx
      nix
      nodejs_24
      openssl
      postgresql
      python3
      wrk
      xz
      zstd
    ];
  }
  # The tools run the Node of the npm package `node`, a plain Linux program. With `programs.nix-ld.enable` NixOS starts
  # such programs, with the loader and the libraries that are named here.
  // lib.optionalAttrs stdenv.hostPlatform.isLinux {
    NIX_LD = stdenv.cc.bintools.dynamicLinker;
    NIX_LD_LIBRARY_PATH = lib.makeLibraryPath [ stdenv.cc.cc ];
  }
)
