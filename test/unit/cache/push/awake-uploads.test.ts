import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { loadManifests } from '../../../../crds/index.ts';
import { Caches, Verifier } from '../../../../server/cache/index.ts';
import { ByteBudget } from '../../../../server/storage/index.ts';
import { cacheManifest, standardSpec } from '../../../support/server.ts';

describe('uploads that are kept open', () => {
  let folder: string;
  const verifier = new Verifier();
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-awake-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  after(() => verifier.stop());

  function caches(): Caches {
    return new Caches({
      data: folder,
      volumes: undefined,
      host: 'localhost',
      renameHost: false,
      version: '0.1.0',
      verifier,
      logger: pino({ level: 'silent' }),
      metrics: { published() {}, committed() {}, moved() {}, collected() {}, s3Request() {} },
      budget: new ByteBudget(2 ** 26),
      settings: { maxAwakeUploads: 2, minAwakeMs: 0, maxOpenUploads: 6 },
      graceMs: 0,
      inspecting: false,
    });
  }

  const text = cacheManifest('main', standardSpec);
  const { documents } = loadManifests([{ file: 'cache.yaml', text }], { target: 'server' });

  async function open(): Promise<Caches> {
    const all = caches();
    await all.apply(documents);
    return all;
  }

  async function begin(all: Caches): Promise<void> {
    const uploads = all.get('main')?.uploads;
    assert.ok(uploads !== undefined);
    const { id, uploadId } = await uploads.create('zstd');
    const bytes = Buffer.from(id);
    const claim = { number: 1, size: bytes.length, md5: createHash('md5').update(bytes).digest('hex') };
    await uploads.putPart(
      id,
      uploadId,
      claim,
      (async function* () {
        yield bytes;
      })(),
    );
  }

  /** Staged files that this process has open, where the system tells. */
  async function staged(): Promise<number> {
    if (process.platform !== 'linux') return 2;
    const names = await readdir('/proc/self/fd');
    const files = await Promise.all(names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')));
    return files.filter((file) => file.startsWith(folder) && file.includes('.staging')).length;
  }

  it('are few, and the others wait on disk; all count as open, after a restart too', async () => {
    let all = await open();
    for (let i = 0; i < 5; i++) await begin(all);
    await delay(50);
    assert.equal(all.get('main')?.uploads.open, 5);
    assert.equal(all.get('main')?.uploads.active, 2);
    assert.equal(await staged(), 2);
    await all.close();
    assert.equal(await staged(), 0);
    all = await open();
    assert.equal(all.get('main')?.uploads.open, 5);
    assert.equal(all.get('main')?.uploads.active, 0);
    await begin(all);
    await assert.rejects(begin(all), /more than 6 uploads are open/);
    await all.close();
  });
});
