// Outputs of content-addressed derivations: pushed by one nix, taken by another with the cache's key alone.
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  generateSecretKey,
  parsePublicKey,
  parseRealisation,
  parseSecretKey,
  realisationFingerprints,
} from '../../server/nix/index.ts';
import { describeEachNix, type Nix, NixClient, nixLabelled } from '../support/nix.ts';
import { nixPath, push } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const stranger = parseSecretKey(generateSecretKey('stranger-1'));
const client = parseSecretKey(generateSecretKey('client-1'));
const texts = new Map<string, string>();
const managed = (keys: readonly string[]) =>
  `${standardSpec}signing:\n  secretRefs:\n${keys.map((name) => `    - name: ${name}\n`).join('')}`;

/** Secrets of signing keys that the manifest names. */
function secret(name: string): string {
  const text = texts.get(name) ?? generateSecretKey(`${name}-1`);
  texts.set(name, text);
  return `---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: ${name}\nstringData:\n  signing-key: ${text}\n`;
}

const OLDER = (id: string, outPath: string, more: object = {}) =>
  JSON.stringify({ id, outPath, signatures: [], ...more });

describe('realisations', () => {
  const manifest = (keys: readonly string[]) =>
    `${cacheManifest('main', managed(keys))}---\n${cacheManifest('self', `${standardSpec}signing:\n  mode: SelfSigned\n  publicKeys:\n    - ${client.publicKey}\n`)}${secret('first')}${secret('second')}`;
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({ manifest: manifest(['first']) });
  });
  after(() => server.remove());

  const id = `sha256:${'ab'.repeat(32)}!out`;
  const older = `/realisations/${id}.doi`;
  const newer = `/build-trace-v2/${'1'.repeat(32)}-x.drv/out.doi`;
  const write = async (where: string, body: string, cache = 'main') =>
    put(`${server.api(cache)}/push`, where, body, await server.auth('push', cache));
  const read = async (where: string, cache = 'main') => send(server.api(cache), where);
  const keyOf = (name: string) => parseSecretKey(texts.get(name) ?? '');

  it('that say nothing, or something else, are refused in one plain line', async () => {
    const bodies = [
      'not json',
      '{}',
      '',
      '[]',
      'null',
      OLDER(id, '../../etc/passwd'),
      '{"outPath":"../../etc/passwd"}',
    ];
    for (const where of [older, newer]) {
      for (const body of bodies) {
        const reply = await write(where, body);
        assert.equal(reply.status, 400, `${where} ${body}: ${reply.text}`);
        assert.match(reply.text, /^[ -~]+\n$/);
        assert.equal((await read(where)).status, 404);
      }
    }
    const other = await write(older, OLDER(id.replace('!out', '!dev'), `${'1'.repeat(32)}-x`));
    assert.equal(other.status, 400);
    assert.match(other.text, /^id: expected sha256:(ab)+!out, as in the address/);
  });

  it('are signed once their path is published, by all keys of the moment', async () => {
    const it = nixPath();
    for (const [where, body] of [
      [older, OLDER(id, it.basename)],
      [newer, JSON.stringify({ outPath: it.basename, signatures: [] })],
    ] as const) {
      assert.equal((await write(where, body)).status, 200);
      assert.deepEqual(JSON.parse((await read(where)).text).signatures, []);
    }
    const { narinfo } = await push(`${server.api()}/push`, it, await server.auth());
    assert.equal(narinfo.status, 200, narinfo.text);
    await isSignedBy(['first']);
    await apply(['second', 'first']);
    await isSignedBy(['second', 'first']);
    await apply(['second']);
    await isSignedBy(['second']);
    await apply(['first']);
  });

  async function apply(keys: readonly string[]): Promise<void> {
    const seen = server.output.length;
    await server.writeManifest(manifest(keys));
    await until('applied', () => server.output.includes('the changed manifests are applied', seen));
  }

  async function isSignedBy(names: readonly string[]): Promise<void> {
    const keys = [
      { where: older, key: { form: 'id', id } as const },
      { where: newer, key: { form: 'trace', drvPath: `${'1'.repeat(32)}-x.drv`, outputName: 'out' } as const },
    ];
    for (const { where, key } of keys) {
      const reply = await read(where);
      const head = await send(server.api(), where, { method: 'HEAD' });
      assert.equal(head.headers['content-length'], String(reply.body.length));
      assert.equal(reply.headers['content-type'], 'application/json');
      const realisation = parseRealisation(key, reply.body);
      assert.deepEqual(
        realisation.signatures.map((signature) => signature.slice(0, signature.indexOf(':'))),
        names.map((name) => `${name}-1`),
      );
      const [text = ''] = realisationFingerprints(realisation);
      for (const [index, name] of names.entries())
        assert.ok(parsePublicKey(keyOf(name).publicKey).verify(text, realisation.signatures[index] ?? ''), name);
    }
  }

  it('keep signatures by strangers, and false ones by keys of the cache are refused', async () => {
    const it = nixPath();
    await push(`${server.api()}/push`, it, await server.auth());
    const foreign = stranger.sign('anything');
    assert.equal((await write(older, OLDER(id, it.basename, { signatures: [foreign] }))).status, 200);
    const { signatures } = JSON.parse((await read(older)).text);
    assert.equal(signatures.length, 2);
    assert.equal(signatures[0], foreign);
    const own = String(signatures[1]);
    assert.equal((await write(older, OLDER(id, it.basename, { signatures: [own] }))).status, 200);
    assert.deepEqual(JSON.parse((await read(older)).text).signatures, [own]);
    const reply = await write(older, OLDER(id, nixPath().basename, { signatures: [own] }));
    assert.equal(reply.status, 400);
    assert.equal(reply.text, 'the signature by first-1, a key of this cache, is not valid\n');
  });

  it('that say nothing new may be sent back to where they were read, as nix 2.34 does, and nothing else', async () => {
    const it = nixPath();
    await push(`${server.api()}/push`, it, await server.auth());
    await write(older, OLDER(id, it.basename));
    const { text } = await read(older);
    const back = (body: string, headers = {}) => put(server.api(), older, body, headers);
    assert.equal((await back(text)).status, 200);
    assert.equal((await back(text, await server.auth('read'))).status, 200);
    // Nobody who may only read gets a decoder.
    assert.equal((await back(text, { 'content-encoding': 'xz' })).status, 415);
    assert.equal((await back(OLDER(id, it.basename, { signatures: [stranger.sign('anything')] }))).status, 401);
    assert.equal((await back(OLDER(id, nixPath().basename))).status, 401);
    assert.equal((await back(OLDER(id, nixPath().basename), await server.auth())).status, 405);
    assert.equal((await put(server.api(), older.replace('!out', '!dev'), text)).status, 401);
    assert.equal((await read(older)).text, text);
  });

  it('that no nix could read, stored by a server that did not look, are not there: one would end a build', async () => {
    const { basename } = nixPath();
    assert.equal((await write(older, OLDER(id, basename))).status, 200);
    const folder = path.join(server.data, 'main');
    const names = await fs.readdir(folder, { recursive: true });
    for (const name of names.filter((it) => it.includes('objects'))) {
      const file = path.join(folder, name);
      // A folder, or what the write has replaced, which goes meanwhile.
      const text = await fs.readFile(file, 'latin1').catch(() => undefined);
      if (text?.includes(basename)) await fs.writeFile(file, 'x'.repeat(text.length));
    }
    assert.equal((await read(older)).status, 404);
    assert.equal((await send(server.api(), older, { method: 'HEAD' })).status, 404);
    assert.equal((await write(older, OLDER(id, basename))).status, 200);
    assert.equal((await read(older)).status, 200);
  });

  it('are not signed by a self-signed cache, which refuses false signatures by its keys too', async () => {
    const plain = nixPath();
    const body = OLDER(id, plain.basename);
    assert.equal((await write(older, body, 'self')).status, 200);
    assert.deepEqual(JSON.parse((await read(older, 'self')).text).signatures, []);
    const [text = ''] = realisationFingerprints(parseRealisation({ form: 'id', id }, Buffer.from(body)));
    const signed = OLDER(id, plain.basename, { signatures: [client.sign(text)] });
    assert.equal((await write(older, signed, 'self')).status, 200);
    assert.deepEqual(JSON.parse((await read(older, 'self')).text).signatures, [client.sign(text)]);
    const wrong = OLDER(id, plain.basename, { signatures: [client.sign('anything')] });
    assert.equal((await write(older, wrong, 'self')).status, 400);
  });
});

/** Two derivations, one built upon the other, so that a realisation has dependents. */
function chain(name: string): string {
  const addressed = '__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";';
  const common = `system = builtins.currentSystem; builder = "/bin/sh"; ${addressed}`;
  return `let low = derivation { name = "low-${name}"; ${common} args = [ "-c" "echo low ${name} > $out" ]; };
    in derivation { name = "top-${name}"; ${common} args = [ "-c" "echo \${low} > $out" ]; }`;
}

/** An installable that stands for the output: nix 2.8 takes the derivation for it. */
function outputOf(nix: Nix, drv: string): string {
  return nix.version.localeCompare('2.15', 'en', { numeric: true }) >= 0 ? `${drv}^out` : drv;
}

await describeEachNix('outputs of content-addressed derivations', (nix) => {
  let dir: string;
  let server: TestServer;
  let key: string;
  let netrc: string;
  const clients: NixClient[] = [];

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-realisations-'));
    server = await TestServer.start();
    key = await server.publicKey();
    netrc = path.join(dir, 'netrc');
    await fs.writeFile(netrc, `machine 127.0.0.1 login anybody password ${await server.token()}\n`, { mode: 0o600 });
  });
  after(async () => {
    await server.remove();
    for (const one of clients) await one.remove();
    await fs.rm(dir, { recursive: true, force: true });
  });

  function newClient(name: string, version = nix): NixClient {
    const made = new NixClient({ version, dir: path.join(dir, name) });
    clients.push(made);
    return made;
  }

  /** Builds and pushes; the path of the output. */
  async function pushed(name: string): Promise<string> {
    const pusher = newClient(`pusher-${name}`);
    const drv = await pusher.must(['nix-instantiate', '-'], { input: chain(name) });
    const [output] = await pusher.build(chain(name));
    assert.ok(output);
    await pusher.copyTo(`${server.api()}/push`, [outputOf(nix, drv)], { netrc });
    // Who copies an output by its derivation reads that in the cache as well.
    await pusher.copyTo(`${server.api()}/push`, ['--derivation', drv], { netrc });
    return output;
  }

  /** Takes the output from the cache, with its key alone. */
  async function pulled(reader: NixClient, name: string): Promise<void> {
    const drv = await reader.must(['nix-instantiate', '-'], { input: chain(name) });
    await reader.copyFrom(server.api(), [outputOf(reader.nix, drv)], { trustedKeys: [key] });
  }

  it('are copied with the key of the cache alone', async () => {
    const output = await pushed('copied');
    const reader = newClient('copier');
    await pulled(reader, 'copied');
    assert.deepEqual(await reader.closureOf([output]), await newClient('pusher-copied').closureOf([output]));
    const trust = { substituters: [], settings: { 'max-jobs': '0' } };
    assert.deepEqual(await reader.build(chain('copied'), trust), [output], 'its realisation came along');
  });

  it('are substituted in a build with the key of the cache alone', async () => {
    const output = await pushed('built');
    const reader = newClient('builder');
    const trust = { substituters: [server.api()], trustedKeys: [key], settings: { 'max-jobs': '0' } };
    assert.deepEqual(await reader.build(chain('built'), trust), [output]);
  });

  for (const label of ['2.8', '2.26', '2.34']) {
    it(`are copied by nix ${label} too`, async () => {
      const reader = newClient(`copier-${label}`, await nixLabelled(label));
      const output = await pushed(`for-${label}`);
      await pulled(reader, `for-${label}`);
      assert.ok((await reader.closureOf([output])).includes(output));
    });
  }

  it('are not copied without the key', async () => {
    await pushed('untrusted');
    const reader = newClient('stranger');
    const drv = await reader.must(['nix-instantiate', '-'], { input: chain('untrusted') });
    const { code, stderr } = await reader.run(['nix', 'copy', '--from', server.api(), outputOf(nix, drv)]);
    assert.notEqual(code, 0);
    assert.match(stderr, /cannot register realisation .* because it lacks a/);
  });
});
