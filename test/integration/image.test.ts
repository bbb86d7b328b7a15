import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { imagesFolder } from '../../hack/image/kept.mjs';
import { ensureImage } from '../../hack/image.mjs';
import { nodeFlags, productEnv } from '../../hack/lib/launch.mjs';
import { root } from '../../hack/lib/places.mjs';
import { ImageRoot } from '../support/image-root.ts';
import { withImageServer } from '../support/image-server.ts';
import { cacheText } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';

const MOST_BYTES = 250e6;
const USER = 65532;
const SBOM = '/usr/share/sbom/narwhal.cdx.json';

/** Loads every file that was built, so that a package or a file that was pruned and is needed shows. */
const LOAD_ALL = `
import fs from 'node:fs';
const files = fs.readdirSync('/app/dist', { recursive: true }).filter((name) => name.endsWith('.js'));
// These begin to work when they are loaded.
const programs = ['server/main.js', 'operator/main.js', 'chunks/worker.js'];
for (const file of files) if (!programs.includes(file)) await import('/app/dist/' + file);
// What is loaded by name and late: the drivers of databases, and how logs look on a terminal.
const { default: knex } = await import('/app/node_modules/knex/knex.mjs');
for (const client of ['pg', 'sqlite3']) await knex({ client, useNullAsDefault: true }).destroy();
await import('/app/node_modules/pino-pretty/index.js');
const { S3Client } = await import('/app/node_modules/@aws-sdk/client-s3/dist-cjs/index.js');
console.log(files.length, typeof S3Client);
`;

const readJson = (file: string) => JSON.parse(fs.readFileSync(file, 'utf8'));

describeWith('image', 'the image', () => {
  let dir: string;
  let image: Awaited<ReturnType<typeof ensureImage>>;
  let unpacked: ImageRoot;
  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-image-'));
    image = await ensureImage('narwhal');
    unpacked = await ImageRoot.unpack(image.file, dir);
  });
  after(() => fs.rmSync(dir, { recursive: true, force: true }));

  /** Every file, folder and link of the unpacked image. */
  function everything(): { name: string; stat: fs.Stats }[] {
    const names = fs.readdirSync(unpacked.root, { recursive: true, encoding: 'utf8' });
    return names.map((name) => ({ name, stat: fs.lstatSync(path.join(unpacked.root, name)) }));
  }

  it('has one digest when it is made twice', async () => {
    // Of the same packages, copied: other times, and another order of the folder.
    const cache = path.join(dir, 'cache');
    for (const name of fs.readdirSync(imagesFolder()).filter((it) => /^(base|modules)-/.test(it)))
      fs.cpSync(path.join(imagesFolder(), name), path.join(cache, 'images', name), {
        recursive: true,
        verbatimSymlinks: true,
      });
    const before = process.env.NARWHAL_CACHE;
    process.env.NARWHAL_CACHE = cache;
    try {
      const again = await ensureImage('narwhal');
      assert.notEqual(again.file, image.file);
      assert.equal(again.digest, image.digest);
    } finally {
      if (before === undefined) delete process.env.NARWHAL_CACHE;
      else process.env.NARWHAL_CACHE = before;
    }
  });

  it('is small, and says what takes the room', () => {
    assert.ok(image.unpackedBytes < MOST_BYTES, `${image.unpackedBytes} bytes`);
    const sum = Object.values(image.parts).reduce((total, bytes) => total + bytes, 0);
    assert.equal(sum, image.unpackedBytes);
  });

  it('has nothing that its user may change, but /data and /tmp', () => {
    const changeable = everything().filter(({ stat }) => {
      if (stat.isSymbolicLink()) return false;
      return stat.uid !== 0 || stat.gid !== 0 || (stat.mode & 0o022) !== 0;
    });
    assert.deepEqual(changeable.map(({ name }) => name).sort(), ['data', 'tmp']);
    assert.equal(fs.statSync(path.join(unpacked.root, 'data')).uid, USER);
  });

  it('has no setuid file, no shell, and no program but its own', () => {
    const files = everything().filter(({ stat }) => stat.isFile());
    assert.deepEqual(
      files.filter(({ stat }) => (stat.mode & 0o7000) !== 0),
      [],
    );
    assert.deepEqual(
      files.filter(({ name }) => /(^|\/)s?bin\//.test(name) && !name.startsWith('app/')).map(({ name }) => name),
      ['usr/local/bin/narwhal-operator', 'usr/local/bin/narwhal-server', 'usr/local/bin/node'],
    );
    assert.deepEqual(
      files.filter(({ name }) => /\/(sh|bash|dash|busybox|env|apt|dpkg)$/.test(name)),
      [],
    );
  });

  it('says what it is', () => {
    const { version, license } = readJson(path.join(root, 'package.json'));
    const { Labels = {} } = unpacked.config;
    assert.equal(Labels['org.opencontainers.image.version'], version);
    assert.equal(Labels['org.opencontainers.image.licenses'], license);
    for (const name of ['title', 'description', 'source']) assert.ok(Labels[`org.opencontainers.image.${name}`], name);
    const revision = Labels['org.opencontainers.image.revision'];
    if (revision !== undefined) assert.match(revision, /^[0-9a-f]{40}$/);
  });

  it('lists in its SBOM exactly what is in it', () => {
    const sbom = readJson(path.join(unpacked.root, SBOM));
    assert.equal(sbom.bomFormat, 'CycloneDX');
    assert.ok(image.sbom);
    assert.deepEqual(readJson(image.sbom), sbom);
    const purls: string[] = sbom.components.map((it: { purl: string }) => it.purl);
    const { version } = readJson(path.join(root, 'package-lock.json')).packages['node_modules/node'];
    assert.ok(purls.includes(`pkg:generic/node@${version}`));
    for (const name of ['libc6', 'libstdc%2B%2B6', 'ca-certificates'])
      assert.ok(
        purls.some((purl) => purl.startsWith(`pkg:deb/debian/${name}@`)),
        name,
      );
    const packages = everything()
      .filter(({ name }) => /^app\/(.*\/)?node_modules\/(@[^/]+\/)?[^/@]+\/package\.json$/.test(name))
      .map(({ name }) => readJson(path.join(unpacked.root, name)))
      .map(({ name, version }) => `pkg:npm/${name.replace('@', '%40')}@${version}`);
    const listed = purls.filter((purl) => purl.startsWith('pkg:npm/'));
    assert.deepEqual([...new Set(packages)].sort(), listed.sort());
    const known = new Set([...purls, sbom.metadata.component.purl]);
    for (const { ref, dependsOn } of sbom.dependencies)
      for (const purl of [ref, ...dependsOn]) assert.ok(known.has(purl), purl);
    const unlicensed = sbom.components.filter((it: { licenses?: unknown }) => !it.licenses);
    assert.deepEqual(
      unlicensed.map((it: { name: string }) => it.name),
      ['base-files'],
    );
  });

  it('carries the flags and the environment of the product', () => {
    for (const [name, value] of Object.entries(productEnv))
      assert.ok(unpacked.config.Env.includes(`${name}=${value}`), name);
    for (const program of ['narwhal-server', 'narwhal-operator']) {
      const launcher = fs.readFileSync(path.join(unpacked.root, 'usr/local/bin', program), 'utf8');
      assert.ok(launcher.startsWith(`#!/usr/local/bin/node ${nodeFlags.join(' ')}\n`), launcher);
    }
  });

  it('runs its three programs as its user, without a shell', async () => {
    const { version } = readJson(path.join(root, 'package.json'));
    assert.equal((await unpacked.run(['narwhal-server', '--version'])).stdout, `${version}\n`);
    assert.match((await unpacked.run(['narwhal-operator', '--help'])).stdout, /Usage: narwhal-operator/);
    // As the chart sets it, beside the flag of the launcher.
    const env = { NODE_OPTIONS: '--max-old-space-size-percentage=75' };
    assert.match(
      (await unpacked.run(['narwhal-server', 'gateway', '--help'], { env })).stdout,
      /Usage: narwhal-server gateway/,
    );
    const script = 'console.log(process.getuid(), process.getgid(), process.argv.slice(1).join())';
    const { stdout } = await unpacked.run(['node', '--input-type=module', '--eval', script, '--', 'a', 'b']);
    assert.equal(stdout, `${USER} ${USER} a,b\n`);
    const write = "fs.writeFileSync('/tmp/a', ''); fs.writeFileSync('/app/a', '')";
    await assert.rejects(unpacked.run(['node', '--eval', write]), /EROFS.*\/app\/a/s);
  });

  it('has every file and package that its code loads', async () => {
    const { stdout } = await unpacked.run(['node', '--input-type=module', '--eval', LOAD_ALL]);
    assert.match(stdout, /^[1-9]\d* function\n$/);
  });

  it('serves a cache from its data folder, and stops on SIGTERM', async () => {
    const data = path.join(dir, 'data');
    await withImageServer(unpacked, dir, cacheText({ access: 'Public' }), async (url) => {
      const answer = await fetch(`${url}/nix-cache-info`);
      assert.equal(answer.status, 200);
      assert.match(await answer.text(), /^StoreDir: \/nix\/store$/m);
      assert.ok(fs.readdirSync(data).length > 0);
    });
  });
});
