# What cannot work, told when the system is built instead of when the service starts.
{
  lib,
  cfg,
  # Whether a manifest is written in Nix.
  isInNix,
}:
let
  isFlag = flag: flag == "-f" || flag == "--file" || lib.hasPrefix "--file=" flag;
  isAddress = address: builtins.match "([a-z0-9-]+=)?(\\[[0-9a-fA-F:.]+]|[^:=]*):[0-9]{1,5}" address != null;
  isAbsolute = lib.hasPrefix "/";
  # Places that hardening.nix replaces or hides.
  isHidden = folder: builtins.match "/(home|root|run/user|tmp|var/tmp)(/.*)?" folder != null;

  names = map (manifest: manifest.metadata.name or null) (lib.filter isInNix cfg.manifests);
  files = lib.concatMap builtins.attrValues (builtins.attrValues cfg.secrets);
  say = lib.concatStringsSep ", ";

  refuse = bad: text: {
    assertion = bad == [ ];
    message = "services.narwhal.${text}: ${say (map toString bad)}";
  };
in
[
  {
    assertion = cfg.manifests != [ ] || lib.any isFlag cfg.extraFlags;
    message = "services.narwhal.manifests is empty: name a file, or write a BinaryCache";
  }
  {
    assertion = !lib.any (manifest: isInNix manifest && manifest.kind or "" == "Secret") cfg.manifests;
    message = "services.narwhal.manifests holds a Secret, which everybody could read in the Nix store: use services.narwhal.secrets";
  }
  {
    assertion = !lib.elem null names;
    message = "services.narwhal.manifests holds one without metadata.name";
  }
  {
    assertion = cfg.listen != [ ];
    message = "services.narwhal.listen is empty";
  }
  {
    assertion = cfg.apiUrl == null || builtins.match "https?://[^/?#]+" cfg.apiUrl != null;
    message = "services.narwhal.apiUrl must be http:// or https:// with a host and nothing after it: ${toString cfg.apiUrl}";
  }
  (refuse (lib.filter (
    manifest: !isInNix manifest && builtins.match ".*\\.(ya?ml|json)" (toString manifest) == null
  ) cfg.manifests) "manifests takes files that end in .yaml, .yml or .json")
  (refuse (lib.filter (address: !isAddress address) (cfg.listen ++ [ cfg.adminListen ]))
    "listen and adminListen take host:port")
  (refuse (lib.filter (folder: !isAbsolute folder) ([ cfg.dataDir ] ++ cfg.storageFolders))
    "dataDir and storageFolders take absolute paths")
  (refuse (lib.filter isHidden ([ cfg.dataDir ] ++ cfg.storageFolders))
    "dataDir and storageFolders cannot lie where the service sees nothing")
  (refuse (lib.filter (file: !isAbsolute file || lib.hasPrefix builtins.storeDir file) files)
    "secrets takes absolute paths outside of the Nix store")
]
