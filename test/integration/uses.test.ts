/** What clients do that counts as a use of a path, and what does not. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { BinaryCache } from '../../server/cache/index.ts';
import type { Running } from '../../server/serve.ts';
import { startInProcess } from '../support/in-process.ts';
import { makePath, narInfoCreate, type TestPath } from '../support/nars.ts';
import { type PushTarget, pushByCachix, pushByPut } from '../support/push.ts';
import { cacheManifest, standardSpec } from '../support/server.ts';
import { useRows } from '../support/uses.ts';

const MANIFEST = [
  cacheManifest('main', standardSpec),
  cacheManifest('private', `${standardSpec}access: Private\n`),
].join('---\n');

/** A request, and the status that it is answered with. */
type Case = readonly [what: string, status: number, ask: (it: TestPath) => Promise<Response>];

describe('uses over HTTP', () => {
  let folder: string;
  let running: Running;
  let target: PushTarget;
  let push: Record<string, string>;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-uses-'));
    const files = [path.join(folder, 'caches.yaml')];
    await writeFile(files[0] ?? '', MANIFEST);
    const data = path.join(folder, 'data');
    running = await startInProcess({ files, data, settings: { useFlushMs: 3600_000 } });
    const url = `http://${running.addresses[0]}`;
    const token = async (cache: string) => readFile(path.join(data, cache, 'tokens', 'push'), 'utf8');
    target = {
      url,
      api: (cache = 'main') => `${url}/api/v1/cache/${cache}`,
      auth: async (_, cache = 'main') => ({ Authorization: `Bearer ${(await token(cache)).trim()}` }),
    };
    push = await target.auth();
  });
  after(async () => {
    await running?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  function cacheOf(name = 'main'): BinaryCache {
    const cache = running.caches.get(name);
    assert.ok(cache);
    return cache;
  }
  async function used(name = 'main'): Promise<Map<string, number>> {
    const cache = cacheOf(name);
    await cache.uses.flush();
    return useRows(cache.database);
  }
  async function etagOf(url: string): Promise<string> {
    const answer = await fetch(url, { method: 'HEAD' });
    // As if nobody had asked.
    cacheOf().paths.forgetAll();
    cacheOf().objects.forget(url.slice(url.indexOf('nar/')));
    await used();
    await cacheOf().database.script([['DELETE FROM uses']]);
    return answer.headers.get('etag') ?? '';
  }

  const narinfo = (it: TestPath, below = '') => `${target.api()}${below}/${it.hashPart}.narinfo`;
  const nar = (it: TestPath) => `${target.api()}/${it.narUrl}`;
  const again = async (url: string) => fetch(url, { headers: { 'If-None-Match': await etagOf(url) } });
  const post = (url: string, body: unknown) =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { ...push, 'Content-Type': 'application/json' },
    });

  const uses: readonly Case[] = [
    ['GET of a narinfo', 200, (it) => fetch(narinfo(it))],
    ['HEAD of a narinfo', 200, (it) => fetch(narinfo(it), { method: 'HEAD' })],
    ['GET of a narinfo that the client has', 304, (it) => again(narinfo(it))],
    ['GET of a narinfo where pushers read', 200, (it) => fetch(narinfo(it, '/push'))],
    ['GET of a narinfo by an encoded address', 200, (it) => fetch(narinfo(it).replace('.narinfo', '%2enarinfo'))],
    ['GET of a NAR', 200, (it) => fetch(nar(it))],
    ['HEAD of a NAR', 200, (it) => fetch(nar(it), { method: 'HEAD' })],
    ['GET of a piece of a NAR', 206, (it) => fetch(nar(it), { headers: { Range: 'bytes=1-5' } })],
    ['GET of a NAR that the client has', 304, (it) => again(nar(it))],
    ['question where a NAR is', 200, (it) => fetch(`${target.api()}/narurl/${it.narUrl.slice(4)}`, { headers: push })],
    ['query for missing paths', 200, (it) => post(`${target.api()}/narinfo`, [it.hashPart])],
    ['old push by cachix of a path that is here', 200, (it) => post(narinfo(it), narInfoCreate(it))],
  ];
  for (const [what, status, ask] of uses)
    it(`${what} is a use`, async () => {
      const it = makePath();
      await pushByPut(target, it);
      // nix has not asked for it before.
      assert.equal((await used()).get(it.hashPart), undefined);
      const answer = await ask(it);
      assert.equal(answer.status, status);
      await answer.arrayBuffer();
      assert.ok((await used()).has(it.hashPart));
    });

  for (const [by, pushed] of Object.entries({ PUT: pushByPut, cachix: pushByCachix }))
    it(`a push by ${by} of what is here is a use`, async () => {
      const it = makePath();
      await pushed(target, it);
      assert.equal((await used()).get(it.hashPart), undefined);
      await pushed(target, it);
      assert.ok((await used()).has(it.hashPart));
    });

  it('reads that find nothing, or that are refused, are none', async () => {
    const [there, nowhere] = [makePath(), makePath()];
    await pushByPut(target, there, { cache: 'private' });
    const asked = [narinfo(nowhere), nar(nowhere), `${target.api()}/narurl/${nowhere.narUrl.slice(4)}`];
    for (const what of [`${there.hashPart}.narinfo`, there.narUrl]) asked.push(`${target.api('private')}/${what}`);
    for (const url of asked) assert.equal((await fetch(url)).status, 404, url);
    assert.equal((await used()).get(nowhere.hashPart), undefined);
    assert.equal((await used('private')).get(there.hashPart), undefined);
  });

  it('one that is asked for all the time is written once', async () => {
    const it = makePath();
    await pushByPut(target, it);
    for (let i = 0; i < 5; i++) await (await fetch(narinfo(it))).text();
    const first = (await used()).get(it.hashPart);
    for (let i = 0; i < 5; i++) await (await fetch(narinfo(it))).text();
    assert.ok(first);
    assert.equal((await used()).get(it.hashPart), first);
  });

  it('uses that found no room are a metric', async () => {
    const text = await (await fetch(`http://${running.adminAddress}/metrics`)).text();
    assert.match(text, /^narwhal_uses_dropped_total\{cache="main"\} 0$/m);
  });
});
