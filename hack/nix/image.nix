# The container image, with the contents and settings of the Dockerfile: three programs, no shell on the path, no root.
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
    mkdir -p tmp
    chmod 1777 tmp
  '';
  config = {
    User = "65532:65532";
    Env = [
      "PATH=/bin"
      # Node in nixpkgs asks OpenSSL for the certificates that it trusts, instead of bringing its own.
      "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt"
    ];
    Entrypoint = [ "narwhal-server" ];
    Cmd = [ "serve" ];
    ExposedPorts = {
      "8080/tcp" = { };
      "9090/tcp" = { };
    };
    Labels = {
      "org.opencontainers.image.title" = "narwhal";
      "org.opencontainers.image.description" = narwhal.meta.description;
      "org.opencontainers.image.version" = narwhal.version;
      "org.opencontainers.image.licenses" = "MIT";
    };
  };
}
