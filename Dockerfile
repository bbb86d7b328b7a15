# One image for server, operator and gateway.
#   docker build -t REGISTRY/narwhal:0.1.0 .
# docs/install.md has the rest. hack/image makes the same without a registry; a test compares.

# The Node of package-lock.json. Images by digest: a tag is whatever its owner, or whoever took it over, makes it today. The
# digests are of all platforms together; hack/README.md says how they are renewed.
ARG NODE_VERSION=24.21.0
ARG BUILD_IMAGE=docker.io/library/node:${NODE_VERSION}-bookworm@sha256:6dac556d980b7f0e5498d08f08cee0ca67798b4ad6c23964a9214920e67758d0
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f

FROM ${BASE_IMAGE} AS base

FROM ${BUILD_IMAGE} AS build
ARG NODE_VERSION
USER root
# Beside a digest a tag means nothing: a version alone must not change.
RUN test "$(node --version)" = "v${NODE_VERSION}"
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
# The native half of sqlite3: downloaded where its hash is known, else compiled.
COPY hack/lib/prebuilt-sqlite3.mjs hack/lib/prebuilt-sqlite3.json ./hack/lib/
RUN NODE_USE_ENV_PROXY=1 node hack/lib/prebuilt-sqlite3.mjs node_modules/sqlite3 \
  || { cd node_modules/sqlite3 && npx node-gyp rebuild --release --nodedir /usr/local; }
WORKDIR /modules
RUN cp /src/package.json /src/package-lock.json . \
  && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY hack/image /src/hack/image
RUN node /src/hack/image/prune.mjs . \
  && install -D /src/node_modules/sqlite3/build/Release/node_sqlite3.node node_modules/sqlite3/build/Release/node_sqlite3.node
WORKDIR /src
COPY . .
RUN node hack/build.mjs /dist
# What the base has of Debian, for the SBOM.
COPY --from=base /var/lib/dpkg/status.d /debian
RUN node hack/image/stage.mjs /out --dist /dist --modules /modules/node_modules --debian /debian

FROM base
COPY --from=build /out/node/ /
COPY --from=build /out/modules/ /
COPY --from=build /out/app/ /
COPY --from=build --chown=65532:65532 /out/app-of-user/ /
LABEL org.opencontainers.image.title="Narwhal" \
  org.opencontainers.image.description="A self-hosted, distributed Nix binary cache: drop-in for Cachix, Kubernetes-native, one process on a laptop." \
  org.opencontainers.image.source="https://github.com/narwhal-cache/narwhal" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="0.1.0"
# hack/lib/launch.mjs has the reasons of the first three.
ENV PATH=/usr/local/bin:/usr/bin:/bin \
  UV_THREADPOOL_SIZE=32 \
  MALLOC_ARENA_MAX=2 \
  MALLOC_MMAP_THRESHOLD_=262144 \
  NARWHAL_FILE=/etc/narwhal \
  NARWHAL_DATA=/data \
  NARWHAL_LISTEN=:8080 \
  NARWHAL_ADMIN_LISTEN=:9090
WORKDIR /
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["narwhal-server"]
CMD ["serve"]
