# The server and the operator, built from this clone with the dependencies of its lockfile.
{
  lib,
  stdenv,
  buildNpmPackage,
  importNpmLock,
  makeBinaryWrapper,
  nodejs_24,
  nodejs-slim_24,
  srcOnly,
}:
let
  npm = import ./npm.nix {
    inherit lib;
    platform = stdenv.buildPlatform.node;
  };
in
buildNpmPackage {
  pname = "narwhal";
  inherit (npm.package) version;

  # What is built, and what takes out of the dependencies all that nothing reads, as for the image. An edited test or
  # page is no reason to build again.
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../LICENSE
      ../../crds
      ../../operator
      ../../package.json
      ../../package-lock.json
      ../../server
      ../../tsconfig.json
      ../build.mjs
      ../image/prune.mjs
      ../image/tree.mjs
      ../lib/places.mjs
    ];
  };

  nodejs = nodejs_24;
  # The hashes of the lockfile are enough: there is no npmDepsHash to keep up with it.
  npmDeps = importNpmLock { inherit (npm) package packageLock; };
  inherit (importNpmLock) npmConfigHook;

  # Install scripts would download: sqlite3 a binary, others what is not used. The one addon is compiled below.
  npmRebuildFlags = [ "--ignore-scripts" ];
  nativeBuildInputs = [ makeBinaryWrapper ];
  preBuild = ''
    pushd node_modules/sqlite3
    npm_config_nodedir=${srcOnly nodejs_24} \
      node ../node-gyp/bin/node-gyp.js rebuild --release --jobs "$NIX_BUILD_CORES"
    # Everything else that was made names the sources of Node, which would then be kept with the package.
    mv build/Release/node_sqlite3.node "$TMPDIR"
    rm -r build deps node-addon-api
    install -D "$TMPDIR/node_sqlite3.node" build/Release/node_sqlite3.node
    popd
  '';

  # npm's own way of installing leaves out what .gitignore names, which is dist. The flags and variables are those of
  # hack/lib/launch.mjs, with the reasons there. package.json as importNpmLock has made it names files in the store,
  # which would then be kept with the package.
  installPhase = ''
    runHook preInstall
    node hack/image/prune.mjs "$PWD"
    find dist '(' -name '*.map' -o -name .built ')' -delete
    home=$out/lib/node_modules/narwhal
    mkdir -p "$home"
    cp -r LICENSE dist node_modules "$home"
    cp ${../../package.json} "$home/package.json"
    for program in server operator; do
      makeBinaryWrapper ${nodejs-slim_24}/bin/node "$out/bin/narwhal-$program" \
        --set-default UV_THREADPOOL_SIZE 32 \
        --set-default MALLOC_ARENA_MAX 2 \
        --set-default MALLOC_MMAP_THRESHOLD_ 262144 \
        --add-flags "--max-semi-space-size=4 $home/dist/$program/main.js"
    done
    runHook postInstall
  '';

  # It loads the addon too.
  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    test "$("$out/bin/narwhal-server" --version)" = ${npm.package.version}
    "$out/bin/narwhal-operator" --help > /dev/null
    runHook postInstallCheck
  '';

  meta = {
    inherit (npm.package) description;
    license = lib.licenses.mit;
    mainProgram = "narwhal-server";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
