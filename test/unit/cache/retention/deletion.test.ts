import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import {
  type BinaryCache,
  CacheError,
  type CacheErrorCode,
  type Caches,
  Verifier,
} from '../../../../server/cache/index.ts';
import type { Deletion } from '../../../../server/cache/retention/deletion.ts';
import { defaultSettings } from '../../../../server/cache/settings.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, until } from '../../../support/server.ts';

const NEVER = new AbortController().signal;

function refer(name: string, ...to: readonly TestPath[]): TestPath {
  return makePath({ name, references: to.map((it) => `${it.hashPart}-${it.name}`) });
}

describe('a path that is deleted', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());

  async function open(graceMs = 3600_000, housekeepingMs = 3600_000): Promise<void> {
    caches = await openCaches({
      data: folder,
      manifest: cacheManifest('main', 'storages:\n  - {name: disk, local: {}}\n'),
      verifier,
      settings: { housekeepingMs, retention: { ...defaultSettings.retention, graceMs } },
    });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
    await until('all hash parts are known', () => cache.paths.loaded);
  }
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-deletion-'));
    await open();
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function push(...all: readonly TestPath[]): Promise<void> {
    for (const it of all) {
      await cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
      await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
    }
  }
  const remove = (it: Pick<TestPath, 'hashPart'>, more: Partial<Deletion> = {}) =>
    cache.deletePath(
      {
        ...{ hashPart: it.hashPart, referrers: 'refuse', pins: 'refuse', block: undefined, now: false, actor: 'ops' },
        ...more,
      },
      NEVER,
    );
  const served = (...all: readonly TestPath[]) =>
    Promise.all(all.map(async (it) => (await cache.paths.find(it.hashPart)) !== undefined));
  const refused = (code: CacheErrorCode, text: RegExp) => (error: unknown) => {
    assert.ok(error instanceof CacheError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  };
  const files = async () =>
    (await readdir(path.join(folder, 'main', 'storages', 'disk', 'objects'), { recursive: true })).filter((it) =>
      it.includes('/'),
    ).length;
  const stateOf = async (it: Pick<TestPath, 'hashPart'>) => (await cache.explain(it.hashPart)).explanation;

  it('goes alone where nothing needs it, and comes back with the next push', async () => {
    const [a, b] = [refer('a'), refer('b')];
    await push(a, b);
    assert.deepEqual(await remove(a), { paths: [a.storePath], sharing: [], remaining: [] });
    assert.deepEqual(await served(a, b), [false, true]);
    const state = await stateOf(a);
    assert.ok(state.state === 'retired' && state.gone.reason === 'deleted' && state.gone.actor === 'ops');
    await assert.rejects(remove(refer('x')), refused('NotFound', /no such path/));
    await push(a);
    assert.deepEqual(await served(a), [true]);
    assert.equal((await stateOf(a)).state, 'published');
  });

  it('stays where something needs it, unless told otherwise', async () => {
    const lib = refer('lib');
    const users = Array.from({ length: 7 }, (_, index) => refer(`user${index}`, lib));
    const top = refer('top', ...users.slice(0, 1));
    await push(lib, ...users, top);
    await assert.rejects(
      remove(lib),
      refused('Conflict', /^\/nix\/store\/.*(, .*){4} and 2 more need it: .*referrers=/),
    );
    assert.deepEqual(await served(lib), [true]);
    await remove(lib, { referrers: 'leave' });
    await until('all that need it wait', async () => !(await served(top))[0]);
    assert.deepEqual(
      await served(lib, ...users),
      [lib, ...users].map(() => false),
    );
    const [user = lib] = users;
    const state = await stateOf(user);
    assert.ok(state.state === 'waiting');
    assert.deepEqual(state.waitsFor, [lib.hashPart]);
    await push(lib);
    assert.deepEqual(
      await served(lib, ...users, top),
      [lib, ...users, top].map(() => true),
    );
    const { paths } = await remove(lib, { referrers: 'delete' });
    assert.deepEqual([...paths].sort(), [lib, ...users, top].map((it) => it.storePath).sort());
    assert.equal((await cache.closures.report()).paths, 0);
    assert.equal((await stateOf(top)).state, 'retired');
  });

  it('is refused from then on where it is blocked, under any name, until the block is lifted', async () => {
    const bad = refer('bad');
    const same = { ...makePath({ name: 'same' }), ...{ nar: bad.nar, file: bad.file, narUrl: bad.narUrl } };
    const twin = {
      ...same,
      narinfo: bad.narinfo.replaceAll(`${bad.hashPart}-${bad.name}`, `${same.hashPart}-${same.name}`),
    };
    await push(bad);
    await remove(bad, { block: 'it is not ours' });
    for (const it of [bad, twin])
      await assert.rejects(push(it), refused('Forbidden', /^this is blocked here: it is not ours$/));
    await assert.rejects(cache.nars.publishNarinfo(bad.hashPart, bad.narinfo), refused('Forbidden', /it is not ours/));
    assert.deepEqual(await cache.paths.revive([bad.hashPart]), []);
    assert.deepEqual(await served(bad), [false]);
    assert.equal((await cache.explain(bad.hashPart)).block?.actor, 'ops');
    await cache.blocks.lift(bad.hashPart);
    await push(bad, twin);
    assert.deepEqual(await served(bad, twin), [true, true]);
    await assert.rejects(cache.blocks.lift(bad.hashPart), refused('NotFound', /not blocked/));
  });

  it('may be blocked before anybody has pushed it', async () => {
    const bad = refer('bad');
    assert.deepEqual(await remove(bad, { block: 'never' }), { paths: [], sharing: [], remaining: [] });
    await assert.rejects(push(bad), refused('Forbidden', /never/));
    const { explanation, block } = await cache.explain(bad.hashPart);
    assert.equal(explanation.state, 'unknown');
    assert.equal(block?.reason, 'never');
  });

  it('leaves no byte behind where it is to go now, but what others share', async () => {
    const [secret, other] = [refer('secret'), refer('other')];
    await push(secret, other);
    assert.equal(await files(), 2);
    assert.deepEqual(await remove(secret, { now: true }), { paths: [secret.storePath], sharing: [], remaining: [] });
    assert.equal(await files(), 1);
    assert.equal(await cache.objects.find(secret.narUrl), undefined);
    assert.equal((await stateOf(secret)).state, 'removed');
    await assert.rejects(push(secret), refused('Forbidden', /deleted for good/));
    assert.equal(await files(), 1);

    const hash = makePath({ name: 'twin' });
    const narinfo = other.narinfo.replaceAll(`${other.hashPart}-${other.name}`, `${hash.hashPart}-twin`);
    await cache.nars.publishNarinfo(hash.hashPart, narinfo);
    const { sharing } = await remove(other, { now: true });
    assert.deepEqual(sharing, [`/nix/store/${hash.hashPart}-twin`]);
    assert.ok(await cache.objects.find(other.narUrl));
    assert.equal(await files(), 1);
  });

  it('that was retired before goes now as well', async () => {
    const secret = refer('secret');
    await push(secret);
    await remove(secret);
    assert.equal(await files(), 1);
    const { paths } = await remove(secret, { now: true });
    assert.deepEqual(paths, [secret.storePath]);
    assert.equal(await files(), 0);
  });
});
