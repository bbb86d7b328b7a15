/** What a loss of power may do and a killed process cannot: a row is there, and its file is not, or not as it was. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assertConsistent, query } from '../support/disk.ts';
import { makePath } from '../support/nars.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { TestServer } from '../support/server.ts';

describe('a loss of power between the answer to a NAR and its narinfo', () => {
  let server: TestServer;
  after(() => server.remove());

  it('takes NARs that no path points at, serves nothing wrong, and is healed by the same push', async () => {
    server = await TestServer.start({ env: { NARWHAL_CRASH_AT: 'before-publish' } });
    const { folder } = server;
    const [gone, short, zeros, whole] = Array.from({ length: 4 }, () => makePath({ contents: randomBytes(300_000) }));
    assert.ok(gone && short && zeros && whole);
    const all = [gone, short, zeros, whole];
    const headers = await server.auth();
    for (const it of all) {
      const answer = await fetch(`${server.api()}/push/${it.narUrl}`, { method: 'PUT', headers, body: it.file });
      assert.equal(answer.status, 200);
    }
    await assert.rejects(pushByPut(server, gone), { name: 'TypeError' });
    assert.equal(await server.ended(), null, 'the process ended by a signal');

    const fileOf = async (url: string) => {
      const [name = ''] = await query(server, `SELECT name AS value FROM objects WHERE key = '${url}'`);
      assert.notEqual(name, '', 'its row outlived the process');
      return path.join(server.data, 'main/storages/disk/objects', name);
    };
    await rm(await fileOf(gone.narUrl));
    await truncate(await fileOf(short.narUrl), 4096);
    await writeFile(await fileOf(zeros.narUrl), Buffer.alloc(zeros.file.length));

    server = await TestServer.start({ folder });
    const publish = async (it: typeof gone) =>
      fetch(`${server.api()}/push/${it.hashPart}.narinfo`, { method: 'PUT', headers, body: it.narinfo });
    for (const it of [gone, short, zeros]) {
      for (const method of ['HEAD', 'GET'])
        assert.equal((await fetch(`${server.api()}/${it.narUrl}`, { method })).status, 404);
      assert.equal((await publish(it)).status, 400);
      assert.equal(await isServed(server, it), false);
    }
    assert.equal((await publish(whole)).status, 200);
    await pushByPut(server, gone);
    await pushByCachix(server, short);
    await pushByPut(server, zeros);
    for (const it of all) assert.ok(await isServed(server, it));
    assert.equal(await server.stop(), 0);
    await assertConsistent(server);
  });
});
