# The container image, with the programs and settings of hack/image/product.mjs; no shell on the path, no root.
{
  lib,
  cacert,
  dockerTools,
  narwhal,
  nodejs-slim_24,
}:
dockerTools.buildLayeredImage {
  name = "ghcr.io/narwhal-cache/narwhal";
  tag = narwhal.version;
  contents = [
    narwhal
    nodejs-slim_24
  ];
  extraCommands = ''
    cp -r --no-preserve=mode ${../image/rootfs/etc} etc
    mkdir -p data etc/narwhal tmp
    chmod 1777 tmp
  '';
  fakeRootCommands = ''
    chown 65532:65532 data
  '';
  config = {
    User = "65532:65532";
    Env = [
      "PATH=/bin"
      # Node in nixpkgs asks OpenSSL for the certificates that it trusts, instead of bringing its own.
      "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt"
      "NARWHAL_FILE=/etc/narwhal"
      "NARWHAL_DATA=/data"
      "NARWHAL_LISTEN=:8080"
      "NARWHAL_ADMIN_LISTEN=:9090"
    ];
    WorkingDir = "/";
    Entrypoint = [ "narwhal-server" ];
    Cmd = [ "serve" ];
    ExposedPorts = {
      "8080/tcp" = { };
      "9090/tcp" = { };
    };
    Labels = {
      "org.opencontainers.image.title" = "Narwhal";
      "org.opencontainers.image.description" = narwhal.meta.description;
      "org.opencontainers.image.source" = "https://github.com/narwhal-cache/narwhal";
      "org.opencontainers.image.version" = narwhal.version;
      "org.opencontainers.image.licenses" = "MIT";
    };
  };
}
