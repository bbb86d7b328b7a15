# A NixOS machine that runs the service, and another that pushes to it and pulls from it. For runNixOSTest.
let
  token = "/var/lib/narwhal/main/tokens/push";
in
{
  name = "narwhal";

  nodes.server = {
    imports = [ ./module.nix ];
    services.narwhal = {
      enable = true;
      manifests = [ ../../examples/laptop.yaml ];
      listen = [ ":80" ];
      apiUrl = "http://server";
      openFirewall = true;
    };
    # One label of a host name for the one cache.
    networking.hosts."127.0.0.1" = [ "main.server" ];
  };

  nodes.client =
    { nodes, pkgs, ... }:
    {
      networking.hosts.${nodes.server.networking.primaryIPAddress} = [ "main.server" ];
      nix.settings = {
        experimental-features = [ "nix-command" ];
        substituters = [ ];
      };
      environment.systemPackages = [ pkgs.curl ];
      # Something to push that is in the machine's store already.
      environment.etc."to-push".source = pkgs.hello;
    };

  testScript = ''
    import json

    start_all()
    server.wait_for_unit("narwhal.service")
    server.wait_until_succeeds("curl --fail http://127.0.0.1:9090/readyz")

    with subtest("a reload is no restart"):
        pid = server.succeed("systemctl show --property MainPID narwhal.service")
        server.succeed("systemctl reload narwhal.service")
        assert pid == server.succeed("systemctl show --property MainPID narwhal.service")

    with subtest("nobody else reads keys and tokens"):
        server.succeed("test -s ${token}")
        server.fail("su -s /bin/sh nobody -c 'cat ${token}'")

    token = server.succeed("cat ${token}").strip()
    client.succeed(f"umask 077; echo 'machine main.server login x password {token}' > /root/netrc")
    info = json.loads(client.succeed("curl --fail http://server/api/v1/cache/main"))
    key = info["publicSigningKeys"][0]
    path = client.succeed("readlink -f /etc/to-push").strip()

    with subtest("nix pushes and pulls"):
        client.succeed(f"nix copy --netrc-file /root/netrc --to 'http://main.server/push?compression=zstd' {path}")
        client.succeed(
            f"nix copy --from http://main.server --to /root/store --option trusted-public-keys '{key}' {path}"
        )
        client.succeed(f"nix store verify --store /root/store --trusted-public-keys '{key}' --recursive {path}")

    with subtest("it stops in good order and finds everything again"):
        server.succeed("systemctl restart narwhal.service")
        server.wait_until_succeeds("curl --fail http://127.0.0.1:9090/readyz")
        client.succeed(f"curl --fail http://main.server/{path.split('/')[3].split('-')[0]}.narinfo")
  '';
}
