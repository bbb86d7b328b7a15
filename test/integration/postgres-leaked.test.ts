/** A secret that leaked, where others write at the same moment: neither sees what the other has not committed. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { type BinaryCache, type Caches, Verifier } from '../../server/cache/index.ts';
import { objectStatements } from '../../server/cache/objects/index.ts';
import { publishStatements } from '../../server/cache/paths/publish.ts';
import type { Statement } from '../../server/metadata/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { openCaches } from '../support/open-caches.ts';
import { PostgresServer } from '../support/postgres.ts';
import { cacheOnPostgres } from '../support/postgres-cache.ts';

describe('a secret that leaked, with PostgreSQL', () => {
  let postgres: PostgresServer;
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(async () => {
    await postgres.stop();
    await verifier.stop();
  });
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-leaked-'));
    const { manifest } = cacheOnPostgres({ url: await postgres.createDatabase() });
    caches = await openCaches({ data: folder, manifest, verifier });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  const version = (seed: string, otherwise: boolean) =>
    makePath({ name: 'secret', seed, contents: Buffer.from('a key'), otherwise });

  /** Writes, and stops right before the COMMIT; what it resolves with goes on. */
  async function half(statements: readonly Statement[]): Promise<() => Promise<void>> {
    let goOn = () => {};
    const open = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let done: Promise<void> | undefined;
    await new Promise<void>((arrived, failed) => {
      done = cache.database.write(async (sql) => {
        await sql.run(statements);
        arrived();
        await open;
      });
      done.catch(failed);
    });
    return async () => {
      goOn();
      await done;
    };
  }
  const objectOf = (it: TestPath) => ({ key: it.narUrl, storage: 'disk', name: 'x/y', size: it.file.length });
  const factsOf = ({ compression, fileHash, narHash, nar }: TestPath) => ({
    ...{ compression, fileHash, narHash },
    narSize: nar.length,
  });
  /** Deletes it for good while a write is stopped before its COMMIT. */
  async function deleteBeside(secret: TestPath, statements: readonly Statement[]) {
    await cache.nars.put(secret.narUrl.slice(4), Readable.from([secret.file]), secret.file.length);
    await cache.nars.publishNarinfo(secret.hashPart, secret.narinfo);
    const goOn = await half(statements);
    let isOver = false;
    const { hashPart } = secret;
    const deleting = cache
      .deletePath(
        { ...{ hashPart, referrers: 'refuse', pins: 'refuse', block: undefined, now: true, actor: null } },
        new AbortController().signal,
      )
      .finally(() => {
        isOver = true;
      });
    while ((await cache.objects.find(secret.narUrl)) !== undefined) cache.objects.forget(secret.narUrl);
    assert.ok(!isOver);
    await goOn();
    return deleting;
  }

  it('goes with a NAR whose row comes at that moment', async () => {
    const again = version('a', true);
    await deleteBeside(version('a', false), objectStatements(objectOf(again), factsOf(again), Date.now()));
    assert.equal(await cache.objects.find(again.narUrl), undefined);
  });

  it('names a path that is published with it at that moment', async () => {
    const twin = version('b', true);
    const { hashPart, name, narHash } = twin;
    const row = {
      ...{ hashPart, name, narHash, narSize: twin.nar.length, references: [], signatures: [] },
      ...{ deriver: undefined, ca: undefined },
    };
    const source = { object: objectOf(twin), facts: factsOf(twin) };
    const { sharing } = await deleteBeside(version('a', false), publishStatements(cache.database, row, source));
    assert.deepEqual(sharing, [twin.storePath]);
  });
});
