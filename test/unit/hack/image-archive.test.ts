import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { writeImage } from '../../../hack/image/archive.mjs';
import type { Layer } from '../../../hack/image/layer.mjs';

const REFERENCE = 'ghcr.io/narwhal-cache/narwhal:0.1.0';

type Read = Map<string, { header: tar.Header; content: Buffer }>;

/** What a tar holds, in its order. */
async function readTar(bytes: Buffer): Promise<Read> {
  const extract = tar.extract();
  extract.end(bytes);
  const found: Read = new Map();
  for await (const entry of extract)
    found.set(entry.header.name, { header: entry.header, content: await buffer(entry) });
  return found;
}

const json = (read: Read, name: string) => JSON.parse(String(read.get(name)?.content));
const sha256 = (bytes: Buffer | undefined) =>
  createHash('sha256')
    .update(bytes ?? '')
    .digest('hex');

describe('the archive of an image', () => {
  let dir: string;
  before(() => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-archive-'));
    fs.mkdirSync(path.join(dir, 'app/lib'), { recursive: true });
    fs.writeFileSync(path.join(dir, 'app/run'), '#!/bin/sh\n', { mode: 0o4711 });
    fs.chmodSync(path.join(dir, 'app/run'), 0o4711);
    fs.writeFileSync(path.join(dir, 'app/lib/a.js'), 'a', { mode: 0o600 });
    fs.writeFileSync(path.join(dir, 'app/lib/a.md'), 'not needed');
    fs.symlinkSync('lib/a.js', path.join(dir, 'app/link'));
  });
  after(() => fs.rmSync(dir, { recursive: true }));

  let written = 0;
  /** Writes an image, and reads it back: the archive, and its layers. */
  async function image(layers: Layer[], reference = REFERENCE) {
    written += 1;
    const file = path.join(dir, `image-${written}.tar`);
    const config = { Entrypoint: ['narwhal-server'], User: '65532:65532', Labels: { b: '2', a: '1' } };
    const result = await writeImage({ file, reference, layers, config, architecture: 'arm64' });
    const archive = await readTar(fs.readFileSync(file));
    const [{ Layers: names }] = json(archive, 'manifest.json');
    const read = names.map((name: string) => readTar(archive.get(name)?.content ?? Buffer.alloc(0)));
    return { ...result, file, archive, read: await Promise.all<Read>(read) };
  }

  const APP: Layer = {
    entries: [
      { from: path.join('PLACE', 'app'), to: '/app', exclude: (name) => name.endsWith('.md') },
      { path: '/usr/bin/start', text: 'text', mode: 0o755 },
      { path: '/usr/bin/again', link: 'start' },
      { path: '/tmp', folder: true, mode: 0o1777 },
      { path: '/data', folder: true, uid: 65532, gid: 65532 },
    ],
  };
  /** The layer above with its folder in this test's. */
  const app = (): Layer => ({
    entries: APP.entries.map((entry) => ('from' in entry ? { ...entry, from: path.join(dir, 'app') } : entry)),
  });

  it('names every part by its digest, in both of its forms', async () => {
    const { archive, digest, unpackedBytes } = await image([app()]);
    for (const [name, { content }] of archive) {
      const [, hex] = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name) ?? [];
      if (hex) assert.equal(sha256(content), hex);
    }
    const blob = (of: { digest: string; size: number }) => {
      const name = `blobs/${of.digest.replace(':', '/')}`;
      assert.equal(archive.get(name)?.content.length, of.size);
      return json(archive, name);
    };
    const [entry] = json(archive, 'index.json').manifests;
    assert.equal(entry.digest, digest);
    assert.deepEqual(entry.annotations, {
      'io.containerd.image.name': REFERENCE,
      'org.opencontainers.image.ref.name': REFERENCE,
    });
    const manifest = blob(entry);
    const config = blob(manifest.config);
    assert.deepEqual(
      manifest.layers.map((layer: { digest: string }) => layer.digest),
      config.rootfs.diff_ids,
    );
    assert.equal(config.architecture, 'arm64');
    assert.equal(config.created, '1970-01-01T00:00:00Z');
    assert.deepEqual(Object.keys(config.config), ['User', 'Entrypoint', 'Labels']);
    assert.deepEqual(Object.keys(config.config.Labels), ['a', 'b']);
    const [docker] = json(archive, 'manifest.json');
    assert.deepEqual(docker.RepoTags, [REFERENCE]);
    assert.equal(docker.Config, `blobs/${manifest.config.digest.replace(':', '/')}`);
    assert.equal(unpackedBytes, '#!/bin/sh\n'.length + 'a'.length + 'text'.length);
    assert.equal(json(archive, 'oci-layout').imageLayoutVersion, '1.0.0');
  });

  it('holds files of root in the order of their paths, with the folders above them', async () => {
    const { read } = await image([app()]);
    const seen = [...(read[0]?.values() ?? [])].map(
      ({ header }) => `${header.name} ${header.type} ${header.mode?.toString(8)} ${header.uid}:${header.gid}`,
    );
    assert.deepEqual(seen, [
      'app directory 755 0:0',
      'app/lib directory 755 0:0',
      'app/lib/a.js file 644 0:0',
      'app/link symlink 777 0:0',
      'app/run file 755 0:0',
      'data directory 755 65532:65532',
      'tmp directory 1777 0:0',
      'usr directory 755 0:0',
      'usr/bin directory 755 0:0',
      'usr/bin/again symlink 777 0:0',
      'usr/bin/start file 755 0:0',
    ]);
    assert.ok([...(read[0]?.values() ?? [])].every(({ header }) => header.mtime?.getTime() === 0));
    assert.equal(read[0]?.get('app/link')?.header.linkname, 'lib/a.js');
  });

  it('has one digest for one content, and one file', async () => {
    const first = await image([app(), { entries: [{ path: '/b', text: 'b' }] }]);
    fs.utimesSync(path.join(dir, 'app/lib/a.js'), 1, 1);
    const second = await image([{ entries: app().entries.reverse() }, { entries: [{ path: '/b', text: 'b' }] }]);
    assert.equal(first.digest, second.digest);
    assert.ok(fs.readFileSync(first.file).equals(fs.readFileSync(second.file)));
    const third = await image([app(), { entries: [{ path: '/b', text: 'c' }] }]);
    assert.notEqual(first.digest, third.digest);
  });

  it('takes the later of two entries, paths of any length, and files of more than a buffer', async () => {
    const long = `/${'folder/'.repeat(40)}file`;
    const big = Buffer.alloc(3_000_001, 'x');
    fs.writeFileSync(path.join(dir, 'big'), big);
    const entries = [
      { path: '/a', text: '1' },
      { path: '/a', text: '2' },
      { path: long, text: 'deep' },
      { from: path.join(dir, 'big'), to: '/big' },
    ];
    const { read } = await image([{ entries }]);
    assert.equal(String(read[0]?.get('a')?.content), '2');
    assert.equal(String(read[0]?.get(long.slice(1))?.content), 'deep');
    assert.ok(read[0]?.get('big')?.content.equals(big));
  });

  const refused: [title: string, layer: Layer, reference: string, message: RegExp][] = [
    ['a short name', { entries: [] }, 'narwhal:0.1.0', /no full name/],
    ['a name without a tag', { entries: [] }, 'ghcr.io/narwhal-cache/narwhal', /no full name/],
    ['a path that is not absolute', { entries: [{ path: 'a', text: '' }] }, REFERENCE, /no absolute path/],
    [
      'a file below a link',
      {
        entries: [
          { path: '/lib', link: 'usr/lib' },
          { path: '/lib/a', text: '' },
        ],
      },
      REFERENCE,
      /\/lib\/a lies below \/lib, which is no folder/,
    ],
    ['what is not there', { entries: [{ from: '/nonexistent', to: '/a' }] }, REFERENCE, /ENOENT/],
  ];
  for (const [title, layer, reference, message] of refused) {
    it(`refuses ${title}, and leaves nothing behind`, async () => {
      const before = fs.readdirSync(dir);
      await assert.rejects(image([layer], reference), message);
      assert.deepEqual(fs.readdirSync(dir), before);
    });
  }

  it('fails instead of waiting when a file shrinks while it is read', async () => {
    const file = path.join(dir, 'shrinks');
    fs.writeFileSync(file, 'four');
    const shrink = () => {
      fs.writeFileSync(file, 'two');
      return false;
    };
    const entries: Layer['entries'] = [
      { from: file, to: '/a' },
      // Asked after the file above was measured.
      { from: path.join(dir, 'app'), to: '/b', exclude: shrink },
    ];
    await assert.rejects(image([{ entries }]), /Size mismatch/);
  });
});
