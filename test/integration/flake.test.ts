// flake.nix and what it is made of, read by real nix against a stand-in for nixpkgs. Nothing is built: that needs nixpkgs.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { productConfig, productLabels } from '../../hack/image/product.mjs';
import { nodeFlags, productEnv } from '../../hack/lib/launch.mjs';
import { copyFlake, flakeJson, nixFiles, ROOT, runFlake, STUB } from '../support/flake.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';

const SYSTEMS = ['aarch64-darwin', 'aarch64-linux', 'x86_64-darwin', 'x86_64-linux'];
const manifest = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
const PACKAGE = 'packages.x86_64-linux.default';

interface LockedPackage {
  readonly version: string;
  readonly integrity: string;
}

await describeEachNix('the flake', (nix) => {
  let dir: string;
  let flake: string;
  let client: NixClient;
  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'narwhal-flake-'));
    flake = await copyFlake(dir);
    client = new NixClient({ version: nix, dir: path.join(dir, 'nix'), env: { NIX_PATH: `nixpkgs=${STUB}` } });
  });
  after(async () => {
    await client.remove();
    await rm(dir, { recursive: true, force: true });
  });

  const evaluate = (attribute: string) => flakeJson(client, flake, ['eval', attribute]);
  const namesOf = async (attribute: string) => {
    const names = ['--apply', 'builtins.mapAttrs (_: builtins.attrNames)'];
    return flakeJson(client, flake, ['eval', attribute, ...names]);
  };
  /** The same names for every system, and more on Linux. */
  const onAll = (names: readonly string[], onLinux: readonly string[] = []) =>
    Object.fromEntries(
      SYSTEMS.map((system) => [system, [...names, ...(system.endsWith('-linux') ? onLinux : [])].sort()]),
    );

  it('parses, file by file', async () => {
    const files = await nixFiles();
    assert.ok(files.length >= 12, files.join());
    await client.must(['nix-instantiate', '--parse', ...files]);
  });

  it('has the same outputs for every system, and images and virtual machines on Linux', async () => {
    assert.deepEqual(await namesOf('packages'), onAll(['default'], ['image']));
    assert.deepEqual(await namesOf('checks'), onAll(['package'], ['service']));
    assert.deepEqual(await namesOf('apps'), onAll(['default', 'operator']));
    assert.deepEqual(await namesOf('devShells'), onAll(['default']));
    assert.deepEqual(await namesOf('nixosModules'), { default: ['imports'], narwhal: ['imports'] });
  });

  it('passes `nix flake check`, which evaluates every output', async () => {
    // nix 2.8 checks every system without being asked, and knows no such flag.
    const all = nix.label === '2.8' ? [] : ['--all-systems'];
    const { code, stderr } = await runFlake(client, flake, ['flake', 'check', '--no-build', ...all]);
    assert.equal(code, 0, stderr);
  });

  it('is the same package and the same shell without flakes', async () => {
    const file = (name: string) => client.must(['nix-instantiate', path.join(flake, name)]);
    assert.equal(await evaluate(`${PACKAGE}.drvPath`), await file('default.nix'));
    assert.equal(await evaluate('devShells.x86_64-linux.default.drvPath'), await file('shell.nix'));
  });

  it('builds from the sources, and is not built again for a test or a page', async () => {
    const source = client.fileOf(String(await evaluate(`${PACKAGE}.src.outPath`)));
    const listed = execFileSync('ls', [source], { encoding: 'utf8' }).trim().split('\n');
    const code = ['LICENSE', 'crds', 'hack', 'operator', 'package-lock.json', 'package.json', 'server'];
    assert.deepEqual(listed, [...code, 'tsconfig.json']);
  });

  it('downloads what a build needs from the public registry, by the hashes of the lockfile', async () => {
    const { packages } = JSON.parse(await readFile(path.join(ROOT, 'package-lock.json'), 'utf8'));
    const hashes = new Set(Object.values<LockedPackage>(packages).map(({ integrity }) => integrity));
    const downloads = ['--apply', 'map (file: { inherit (file) url outputHash; })'];
    const found = await flakeJson(client, flake, ['eval', `${PACKAGE}.npmDeps.downloads`, ...downloads]);
    const files = found as { url: string; outputHash: string }[];
    assert.ok(files.length > 200, `${files.length} files`);
    for (const { url, outputHash } of files) {
      assert.match(url, /^https:\/\/registry\.npmjs\.org\/(@[\w.-]+\/)?[\w.-]+\/-\/[\w.-]+\.tgz$/);
      assert.ok(hashes.has(outputHash), url);
    }
    const has = (name: string) => files.some(({ url }) => url.includes(`.org/${name}/-/`));
    for (const name of ['koa', 'sqlite3', 'node-gyp', 'esbuild', '@esbuild/linux-x64']) assert.ok(has(name), name);
    for (const name of ['node', 'mocha', 'typescript', '@biomejs/biome', '@esbuild/darwin-arm64'])
      assert.ok(!has(name), name);
  });

  it('starts the programs as `npm start` does', async () => {
    const script = String(await evaluate(`${PACKAGE}.installPhase`));
    assert.ok(script.includes(`--add-flags "${nodeFlags.join(' ')} $home/dist/$program/main.js"`), script);
    const set = [...script.matchAll(/--set-default (\S+) (\S+)/g)].map(([, name, value]) => [name, value]);
    assert.deepEqual(Object.fromEntries(set), productEnv);
  });

  it('says who it is: version, licence, main program', async () => {
    const { version, description } = manifest;
    assert.equal(await evaluate(`${PACKAGE}.name`), `narwhal-${version}`);
    const { license, mainProgram, ...meta } = (await evaluate(`${PACKAGE}.meta`)) as Record<string, unknown>;
    assert.deepEqual([license, mainProgram, meta.description], [{ spdxId: 'MIT' }, 'narwhal-server', description]);
    const program = String(await evaluate('apps.x86_64-linux.operator.program'));
    assert.equal(program, `${await evaluate(`${PACKAGE}.outPath`)}/bin/narwhal-operator`);
  });

  it('makes an image with the settings of `npm run image`', async () => {
    const { Labels, Env, ...config } = (await evaluate(
      'packages.x86_64-linux.image.config',
    )) as typeof productConfig & {
      Labels: Record<string, string>;
    };
    const { Env: wanted, ...same } = productConfig;
    assert.deepEqual(config, same);
    assert.deepEqual(Labels, productLabels(manifest));
    // The wrappers of the programs set those of the runtime, and programs lie elsewhere.
    const isOurs = (variable: string) => variable.startsWith('NARWHAL_');
    assert.deepEqual(Env.filter(isOurs), wanted.filter(isOurs));
    assert.match(String(Env), /^PATH=\/bin,SSL_CERT_FILE=\/nix\/store\//);
  });
});
