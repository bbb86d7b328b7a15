# Packages of nixpkgs under their names. Each is a real derivation, so that what refers to it can be evaluated to the end;
# none can be built.
{
  system ? builtins.currentSystem,
}:
let
  lib = import ./lib.nix;

  derive =
    attrs@{ name ? "${attrs.pname}-${attrs.version}", ... }:
    attrs
    // derivation (
      removeAttrs attrs [ "meta" ]
      // {
        inherit name system;
        builder = "/none";
      }
    );

  named = lib.genAttrs [
    "actionlint"
    "bzip2"
    "cacert"
    "coreutils"
    "curl"
    "etcd"
    "go"
    "hello"
    "kind"
    "kubectl"
    "kubernetes-helm"
    "lz4"
    "makeBinaryWrapper"
    "nginx"
    "nix"
    "nixfmt"
    "nodejs-slim_24"
    "nodejs_24"
    "openssl"
    "postgresql"
    "python3"
    "wrk"
    "xz"
    "zstd"
  ] (name: derive { inherit name; });

  platform = {
    inherit system;
    isLinux = lib.hasSuffix "-linux" system;
    node = {
      platform = if lib.hasSuffix "-linux" system then "linux" else "darwin";
      arch = if lib.hasPrefix "x86_64-" system then "x64" else "arm64";
    };
  };

  fetchurl =
    { url, hash }:
    derive {
      name = baseNameOf url;
      inherit url;
      outputHash = hash;
      outputHashAlgo = "sha512";
      outputHashMode = "flat";
    };

  pkgs = named // {
    inherit lib pkgs;

    stdenv = {
      buildPlatform = platform;
      hostPlatform = platform;
      cc = derive { name = "cc"; } // {
        cc = derive { name = "gcc"; };
        bintools.dynamicLinker = "/loader";
      };
    };

    callPackage =
      file: args:
      let
        function = import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // args);

    buildNpmPackage = derive;
    mkShell = attrs: derive ({ name = "nix-shell"; } // attrs);
    srcOnly = package: derive { name = "${package.name}-source"; };

    # Every package of the lockfile is downloaded, and package.json names the downloads.
    importNpmLock = {
      npmConfigHook = derive { name = "npm-config-hook"; };
      __functor =
        _:
        { package, packageLock }:
        let
          downloads = builtins.mapAttrs (_: { resolved, integrity, ... }: fetchurl {
            url = resolved;
            hash = integrity;
          }) (removeAttrs packageLock.packages [ "" ]);
        in
        derive {
          name = "${package.name}-${package.version}-sources";
          dependencies = map (name: downloads."node_modules/${name}") (
            builtins.attrNames (package.dependencies // package.devDependencies)
          );
          downloads = builtins.attrValues downloads;
        };
    };

    dockerTools.buildLayeredImage =
      { name, tag, contents, extraCommands, fakeRootCommands, config }:
      derive {
        name = "${baseNameOf name}.tar.gz";
        inherit contents extraCommands fakeRootCommands;
        settings = builtins.toJSON config;
      }
      // {
        inherit config;
      };

    writeText = builtins.toFile;
    # A list of the links instead of the links, because that can be had without a build.
    linkFarm = name: entries: builtins.toFile name (builtins.toJSON entries);

    testers.runNixOSTest =
      file:
      let
        test = import file;
        nodes.server.networking.primaryIPAddress = "192.0.2.1";
        server = import ./nixos.nix {
          inherit lib pkgs;
          machine = test.nodes.server;
        };
      in
      derive {
        name = "vm-test-run-${test.name}";
        inherit (test) testScript;
        server = builtins.toJSON server.systemd.services;
        client = builtins.toJSON (test.nodes.client { inherit nodes pkgs; });
      };
  };
in
pkgs
