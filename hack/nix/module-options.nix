# The options of services.narwhal.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services.narwhal = {
    enable = lib.mkEnableOption "Narwhal, a Nix binary cache";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalMD "Narwhal, built with the nixpkgs of the system";
      description = "The package with `narwhal-server`.";
    };

    manifests = mkOption {
      type = types.listOf (types.either types.path types.attrs);
      default = [ ];
      example = lib.literalExpression ''
        [
          ./cache.yaml
          {
            apiVersion = "narwhal.dev/v1alpha1";
            kind = "BinaryCache";
            metadata.name = "main";
            spec.storages = [ { name = "disk"; local = { }; } ];
          }
        ]
      '';
      description = ''
        The caches, as files or written in Nix. They end up in the world-readable Nix store, unless they are files named by
        a text such as `"/etc/cache.yaml"`. The running server takes changes over without a restart.
      '';
    };

    secrets = mkOption {
      # No path: Nix would copy the file into the store.
      type = types.attrsOf (types.attrsOf types.str);
      default = { };
      example = {
        bucket = {
          accessKeyId = "/run/secrets/bucket-id";
          secretAccessKey = "/run/secrets/bucket-key";
        };
      };
      description = ''
        The Secrets that manifests name (`secretRef` and the like): for each key the file that holds it. systemd reads the
        files as root when the service starts, so that nobody else needs to be able to.
      '';
    };

    dataDir = mkOption {
      type = types.str;
      default = "/var/lib/narwhal";
      description = "Where caches keep database, keys, tokens and storages without a path.";
    };

    storageFolders = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/mnt/raid/narwhal" ];
      description = ''
        Folders of storages outside of `dataDir` that manifests in files name (`local.path`); those of manifests written in
        Nix are found. Each must exist and belong to the user `narwhal`: a disk that is not mounted is not written to.
      '';
    };

    listen = mkOption {
      type = types.listOf types.str;
      default = [ "127.0.0.1:8080" ];
      example = [ ":8080" ];
      description = "`host:port` for all caches, or `cache=host:port` for one. `:8080` is every address.";
    };

    adminListen = mkOption {
      type = types.str;
      default = "127.0.0.1:9090";
      description = "`host:port` of `/livez`, `/readyz`, `/metrics` and `/status`, which have no access control.";
    };

    apiUrl = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "https://cache.example.org";
      description = "How clients reach the server. Absent: `http://localhost` and the port of the first `listen`.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Open the ports of `listen` in the firewall. That of `adminListen` stays closed.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/narwhal.env";
      description = "A file with more environment variables, such as `AWS_ACCESS_KEY_ID=...`, that only root need read.";
    };

    extraFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--log-level" "debug" ];
      description = "More flags of `narwhal-server serve`.";
    };
  };
}
