import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { assertConsistent } from '../support/disk.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';

const PUSHERS = 32;
const READERS = 200;
const PATHS_EACH = 5;

describe('many clients at one time', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start({ args: ['--housekeeping-interval', '0.1'] });
  });
  afterEach(() => server.remove());

  it('push and read without an error: nothing is ever locked', async () => {
    const published: TestPath[] = [makePath()];
    await pushByPut(server, published[0] ?? makePath());
    let pushing = true;
    const pushers = Array.from({ length: PUSHERS }, async (_, index) => {
      for (let count = 0; count < PATHS_EACH; count++) {
        const it = makePath({ contents: randomBytes(20_000) });
        await (index % 2 === 0 ? pushByPut : pushByCachix)(server, it);
        published.push(it);
      }
    });
    const readers = Array.from({ length: READERS }, async (_, index) => {
      for (let turn = index; pushing; turn++) {
        const it = published[turn % published.length];
        assert.ok(it !== undefined && (await isServed(server, it)));
        const miss = await fetch(`${server.url}/${makePath().hashPart}.narinfo`);
        assert.equal(miss.status, 404, await miss.text());
      }
    });
    await Promise.all(pushers);
    pushing = false;
    await Promise.all(readers);
    assert.equal(published.length, PUSHERS * PATHS_EACH + 1);
    for (const it of published) assert.ok(await isServed(server, it));
    assert.doesNotMatch(server.output, /locked|SQLITE_BUSY|"level":(40|50|60)/);
  });

  it('race on one path by both protocols: all succeed, one NAR stays', async () => {
    for (let round = 0; round < 5; round++) {
      // The same NAR, compressed and not: two files that are both right.
      const seed = `race ${round}`;
      const contents = randomBytes(50_000);
      const zstd = makePath({ seed, contents });
      const none = makePath({ seed, contents, compression: 'none' });
      await Promise.all([pushByCachix(server, zstd), pushByPut(server, none), pushByCachix(server, zstd)]);
      const text = await (await fetch(`${server.url}/${zstd.hashPart}.narinfo`)).text();
      const winner = text.includes(zstd.narUrl) ? zstd : none;
      assert.ok(await isServed(server, winner));
    }
    assert.doesNotMatch(server.output, /"level":(40|50|60)/);
  });

  it('race with the same bytes: the bytes that lose are removed', async () => {
    const it = makePath({ contents: randomBytes(50_000) });
    await Promise.all(
      Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? pushByPut : pushByCachix)(server, it)),
    );
    assert.ok(await isServed(server, it));
    const objects = path.join(server.data, 'main', 'storages', 'disk', 'objects');
    await until('one file is left', async () => {
      return (await readdir(objects, { recursive: true })).filter((name) => name.includes('/')).length === 1;
    });
    assert.equal(await server.stop(), 0);
    await assertConsistent(server);
  });
});
