import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Keys, type KeysInit } from '../../../../server/cache/signing/keys.ts';
import { signaturesFor } from '../../../../server/cache/signing/sign.ts';
import { SqliteDatabase } from '../../../../server/metadata/index.ts';
import { generateSecretKey, parseSecretKey } from '../../../../server/nix/index.ts';

describe('the keys of a cache', () => {
  let folder: string;
  let database: SqliteDatabase;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-keys-'));
    database = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
  });
  afterEach(async () => {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });

  function load(init: Partial<KeysInit> = {}): Promise<Keys> {
    return Keys.load({
      folder,
      cache: 'main',
      host: 'cache.example.org',
      renameHost: false,
      signing: { mode: 'Managed', secretKeys: [], publicKeys: [] },
      rootSecret: 'generated',
      missing: undefined,
      database,
      ...init,
    });
  }

  const secretFile = (name = 'main.cache.example.org-1') => path.join(folder, 'signing', name);

  it('are generated once, named after cache and host, for their owner only', async () => {
    const first = await load();
    const second = await load();
    assert.match(first.publicKeys().join(), /^main\.cache\.example\.org-1:[A-Za-z0-9+/]{43}=$/);
    assert.deepEqual(second.publicKeys(), first.publicKeys());
    assert.ok(second.derive('a').equals(first.derive('a')));
    for (const file of [secretFile(), path.join(folder, 'root.key')])
      assert.equal((await stat(file)).mode & 0o777, 0o600, file);
  });

  it('are not made anew when the secret of a known one is gone', async () => {
    const { lost, publicKeys } = { ...(await load()), publicKeys: (await load()).publicKeys() };
    assert.equal(lost, undefined);
    await rename(secretFile(), `${folder}/backup`);
    const without = await load();
    assert.match(
      without.lost ?? '',
      /^the secret of the signing key main\.cache\.example\.org-1:\S+ is gone: put .* back/,
    );
    assert.deepEqual(await readdir(path.join(folder, 'signing')), []);
    assert.throws(() => signaturesFor(without, 'text', []), { code: 'Conflict' });
    await rename(`${folder}/backup`, secretFile());
    assert.deepEqual((await load()).publicKeys(), publicKeys);
  });

  it('are not taken for the known one when another was put in its place', async () => {
    await load();
    await writeFile(secretFile(), generateSecretKey('main.cache.example.org-1'));
    assert.match((await load()).lost ?? '', /holds another key than .*: put the old one back/);
  });

  it('are kept when the host changes, which must be asked for; then both names sign', async () => {
    const before = (await load()).publicKeys();
    await assert.rejects(load({ host: 'new.example.org' }), /the API host has changed: .*--rename-host/);
    const renamed = await load({ host: 'new.example.org', renameHost: true });
    const [first = '', second = ''] = renamed.publicKeys();
    assert.deepEqual([second], before);
    assert.equal(first, before[0]?.replace('main.cache.example.org-1', 'main.new.example.org-1'));
    const names = signaturesFor(renamed, 'text', []).map((it) => it.split(':')[0]);
    assert.deepEqual(names, ['main.new.example.org-1', 'main.cache.example.org-1']);
    assert.deepEqual((await load({ host: 'new.example.org' })).publicKeys(), [first, second]);
  });

  it('may come out of Secrets: all of them sign and none is generated', async () => {
    const secretKeys = [generateSecretKey('a-1'), generateSecretKey('b-1')];
    const keys = await load({ signing: { mode: 'Managed', secretKeys, publicKeys: [] } });
    assert.deepEqual(
      keys.publicKeys(),
      secretKeys.map((text) => parseSecretKey(text).publicKey),
    );
    assert.equal((await readdir(folder)).includes('signing'), false);
  });

  it('are made for no purpose twice, nor out of the signing key', async () => {
    const keys = await load({ rootSecret: Buffer.alloc(32, 1) });
    assert.equal(keys.derive('a').symmetricKeySize, 32);
    assert.ok(!keys.derive('a').equals(keys.derive('b')));
    const other = await load({ rootSecret: Buffer.alloc(32, 2) });
    assert.ok(!keys.derive('a').equals(other.derive('a')));
  });

  it('are refused where the root key is damaged', async () => {
    await load();
    const file = path.join(folder, 'root.key');
    const text = await readFile(file, 'utf8');
    await rm(file);
    await writeFile(file, text.slice(0, 10));
    await assert.rejects(load(), /root\.key is neither 32 bytes nor their base64: put it back/);
  });
});
