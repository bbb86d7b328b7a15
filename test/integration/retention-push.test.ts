/** A pusher that was told that a NAR is here sends only its narinfo, whatever retention does in between. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { defaultSettings } from '../../server/cache/settings.ts';
import type { Running } from '../../server/serve.ts';
import { startInProcess } from '../support/in-process.ts';
import { refer, twin } from '../support/paths.ts';
import { cacheManifest, standardSpec, until } from '../support/server.ts';

const DAY = 24 * 3600_000;

describe('a NAR of which a pusher was told', () => {
  let folder: string;
  let running: Running;
  let api: string;
  let auth: Record<string, string>;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-retention-push-'));
    const file = path.join(folder, 'caches.yaml');
    await writeFile(file, cacheManifest('main', standardSpec));
    const data = path.join(folder, 'data');
    const retention = { ...defaultSettings.retention, unusedMs: 30 * DAY, minAgeMs: 0, graceMs: 0 };
    running = await startInProcess({ files: [file], data, settings: { housekeepingMs: 20, retention } });
    api = `http://${running.addresses[0]}/api/v1/cache/main/push`;
    const token = await readFile(path.join(data, 'main', 'tokens', 'push'), 'utf8');
    auth = { Authorization: `Bearer ${token.trim()}` };
  });
  after(async () => {
    await running?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function ask(method: string, key: string, body?: Buffer | string, headers = auth): Promise<number> {
    const answer = await fetch(`${api}/${key}`, { method, headers, ...(body !== undefined && { body }) });
    await answer.arrayBuffer();
    return answer.status;
  }

  for (const [how, isKept] of [
    ['HEAD', true],
    ['PUT', true],
    ['HEAD by a stranger', false],
  ] as const)
    it(`${how}: ${isKept ? 'stays until its narinfo comes' : 'goes with its grace'}`, async () => {
      const cache = running.caches.get('main');
      assert.ok(cache);
      const old = refer('old');
      const next = twin('next', old);
      assert.equal(await ask('PUT', old.narUrl, old.file), 200);
      assert.equal(await ask('PUT', `${old.hashPart}.narinfo`, old.narinfo), 200);
      // Unused for long, and retired; its grace ends when the test says so.
      await cache.uses.flush();
      await cache.database.script([
        [`UPDATE meta SET value = '0' WHERE key = 'uses_since'`],
        ['DELETE FROM uses'],
        ['UPDATE paths SET published_at = 1'],
        [
          `INSERT INTO retired (hash_part, name, object_id, refs, signatures, published_at, used_at, retired_at, reason)
          SELECT hash_part, name, object_id, refs, signatures, 1, 1, ${Date.now() + DAY}, 'unused' FROM paths`,
        ],
        ['DELETE FROM paths'],
      ]);
      const status = await ask(
        how.slice(0, 4).trim(),
        old.narUrl,
        how === 'PUT' ? old.file : undefined,
        isKept ? auth : {},
      );
      assert.equal(status, 200);
      await cache.database.script([['UPDATE retired SET retired_at = 1']]);
      await until('its grace is over', async () => (await cache.database.query('SELECT 1 FROM retired')).length === 0);
      if (!isKept)
        await until('it is gone', async () => (await cache.database.query('SELECT 1 FROM objects')).length === 0);
      assert.equal(await ask('PUT', `${next.hashPart}.narinfo`, next.narinfo), isKept ? 200 : 400);
      await cache.database.script([['DELETE FROM paths'], ['UPDATE objects SET orphan_since = 0']]);
    });
});
