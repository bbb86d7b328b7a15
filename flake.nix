{
  description = "Narwhal, a self-hosted Nix binary cache";

  # A nixpkgs that has nodejs_24. Whoever uses this flake as an input lets it follow theirs.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ]
      # From 26.11 on nixpkgs has nothing for Macs with Intel and refuses to be asked.
      ++ lib.optional (lib.versionOlder lib.trivial.release "26.11") "x86_64-darwin";
      perSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      app = package: program: {
        type = "app";
        program = "${package}/bin/${program}";
        meta.description = "Run ${program}";
      };
    in
    {
      packages = perSystem (
        pkgs:
        let
          narwhal = pkgs.callPackage ./hack/nix/package.nix { };
        in
        {
          default = narwhal;
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
          image = pkgs.callPackage ./hack/nix/image.nix { inherit narwhal; };
        }
      );

      apps = perSystem (
        pkgs:
        let
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        in
        {
          default = app package "narwhal-server";
          operator = app package "narwhal-operator";
        }
      );

      nixosModules.narwhal.imports = [ ./hack/nix/module.nix ];
      nixosModules.default = self.nixosModules.narwhal;

      devShells = perSystem (pkgs: {
        default = pkgs.callPackage ./hack/nix/shell.nix { };
      });

      checks = perSystem (
        pkgs:
        {
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        }
        # A test in a virtual machine needs Linux.
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
          service = pkgs.testers.runNixOSTest ./hack/nix/test.nix;
        }
      );

      formatter = perSystem (pkgs: pkgs.nixfmt);
    };
}
