# A NixOS service: one server, configured by manifests. docs/nixos.md is for those who use it.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  cfg = config.services.narwhal;
  # Not a dynamic user: storages on other disks belong to it, and a reinstalled machine must find them its own.
  user = "narwhal";
  stateDir = "/var/lib/narwhal";
  credentials = "/run/credentials/narwhal.service";
  # What requests have to finish, as the server's own --shutdown-grace, and what follows: the database is closed.
  stopSeconds = 30 + 15;

  # Neither a file nor a package that is one.
  isInNix = manifest: builtins.isAttrs manifest && !(manifest ? outPath);
  inNix = lib.filter isInNix cfg.manifests;

  fileName =
    index: manifest:
    "${lib.fixedWidthNumber 2 index}-"
    + (if isInNix manifest then "${manifest.metadata.name or "unnamed"}.json" else baseNameOf manifest);

  # Behind one link, so that a new configuration takes the place of the old one in a single step.
  manifests = pkgs.linkFarm "narwhal-manifests" (
    lib.imap0 (index: manifest: rec {
      name = fileName index manifest;
      path = if isInNix manifest then pkgs.writeText name (builtins.toJSON manifest) else "${manifest}";
    }) cfg.manifests
  );

  # As Kubernetes mounts them: a folder for each Secret, in it a file for each key. The links lead to where systemd puts
  # credentials, which are flat.
  keys = lib.concatLists (
    lib.mapAttrsToList (
      secret:
      lib.mapAttrsToList (
        key: file: {
          inherit file;
          name = "${secret}/${key}";
          credential = "${secret}_${key}";
        }
      )
    ) cfg.secrets
  );
  secrets = pkgs.linkFarm "narwhal-secrets" (
    map (key: {
      inherit (key) name;
      path = "${credentials}/${key.credential}";
    }) keys
  );

  storageFolders = lib.unique (
    cfg.storageFolders
    ++ lib.concatMap (
      manifest: lib.concatMap (storage: lib.toList (storage.local.path or [ ])) (manifest.spec.storages or [ ])
    ) inNix
  );

  portOf = address: lib.toInt (lib.last (lib.splitString ":" address));
  ports = lib.unique (map portOf cfg.listen);
  capabilities = lib.optionalString (lib.any (port: port < 1024) (
    ports ++ [ (portOf cfg.adminListen) ]
  )) "CAP_NET_BIND_SERVICE";
in
{
  imports = [ ./module-options.nix ];

  config = lib.mkIf cfg.enable {
    assertions = import ./assertions.nix { inherit lib cfg isInNix; };

    users.users.${user} = {
      isSystemUser = true;
      group = user;
      home = cfg.dataDir;
    };
    users.groups.${user} = { };

    environment.systemPackages = [ cfg.package ];
    environment.etc."narwhal/manifests".source = manifests;
    networking.firewall.allowedTCPPorts = lib.optionals cfg.openFirewall ports;
    systemd.tmpfiles.rules = lib.optional (cfg.dataDir != stateDir) "d ${cfg.dataDir} 0700 ${user} ${user} -";

    systemd.services.narwhal = {
      description = "Narwhal, a Nix binary cache";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # Wants, not Requires: with a disk missing the server still serves what lies elsewhere.
      unitConfig.WantsMountsFor = [ cfg.dataDir ] ++ storageFolders;
      reloadTriggers = [ manifests ];
      # For NARs in these formats the server runs the programs of that name.
      path = [
        pkgs.bzip2
        pkgs.lz4
      ];

      serviceConfig = import ./hardening.nix { inherit capabilities; } // {
        Type = "exec";
        ExecStart = utils.escapeSystemdExecArgs (
          [
            "${cfg.package}/bin/narwhal-server"
            "serve"
          ]
          ++ lib.optionals (cfg.manifests != [ ]) [
            "--file"
            "/etc/narwhal/manifests"
          ]
          ++ [
            "--data"
            cfg.dataDir
          ]
          ++ lib.optionals (cfg.secrets != { }) [
            "--secrets"
            secrets
          ]
          ++ lib.concatMap (address: [
            "--listen"
            address
          ]) cfg.listen
          ++ [
            "--admin-listen"
            cfg.adminListen
          ]
          ++ lib.optionals (cfg.apiUrl != null) [
            "--api-url"
            cfg.apiUrl
          ]
          ++ [
            "--log-format"
            "json"
          ]
          ++ cfg.extraFlags
        );
        # The server looks every second anyway; with this `nixos-rebuild switch` is told of its end.
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = 5;
        TimeoutStopSec = stopSeconds;
        # Connections and open files. Node raises its limit to what is allowed.
        LimitNOFILE = 524288;

        User = user;
        Group = user;
        ReadWritePaths =
          # With a dash: a disk that is not mounted is no reason not to start.
          map (folder: "-${folder}") storageFolders ++ lib.optional (cfg.dataDir != stateDir) cfg.dataDir;
        LoadCredential = map (key: "${key.credential}:${key.file}") keys;
      }
      // lib.optionalAttrs (cfg.dataDir == stateDir) {
        StateDirectory = "narwhal";
        StateDirectoryMode = "0700";
      }
      // lib.optionalAttrs (cfg.environmentFile != null) {
        EnvironmentFile = cfg.environmentFile;
      };
    };
  };
}
