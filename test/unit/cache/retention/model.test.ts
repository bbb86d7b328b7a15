/** Whatever is done to a cache with retention, in any order, it holds what a small model of it holds. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { pino } from 'pino';
import { type BinaryCache, type Caches, Verifier } from '../../../../server/cache/index.ts';
import type { Movable } from '../../../../server/cache/moving/mover.ts';
import { expireRetired } from '../../../../server/cache/retention/expire.ts';
import { defaultSettings } from '../../../../server/cache/settings.ts';
import { dropOrphans } from '../../../../server/cache/upkeep/orphans.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { type ModelPath, RetentionModel } from '../../../support/retention-model.ts';
import { cacheManifest, until } from '../../../support/server.ts';
import { assertSoundRows } from '../../../support/sound-rows.ts';

const isLong = process.env.NARWHAL_LONG === '1';
const DAY = 24 * 3600_000;
const NEVER = new AbortController().signal;
const RULES = { unusedDays: 30, minAgeDays: 1, graceDays: 2, orphanDays: 1 };
/** The last one has the NAR of the third. */
const REFERENCES = [[], [], [0], [0, 1], [2, 3], [4], []] as const;
const TWIN = 2;
const MANIFEST = cacheManifest('main', 'storages:\n  - {name: one, local: {}}\n  - {name: two, local: {}}\n');

function makePaths(): ModelPath[] {
  const made: ModelPath[] = [];
  const twin = randomBytes(1000);
  for (const [index, references] of REFERENCES.entries()) {
    const contents = index === TWIN || index === REFERENCES.length - 1 ? twin : randomBytes(1000);
    const seed = randomBytes(8).toString('hex');
    const names = references.map((to) => `${made[to]?.files[0].hashPart}-p${to}`);
    const file = (otherwise: boolean) => makePath({ name: `p${index}`, contents, seed, references: names, otherwise });
    made.push({ files: [file(false), file(true)], references });
  }
  return made;
}

/** The cache beside its model. */
class Real {
  readonly folder: string;
  readonly paths: readonly ModelPath[];
  readonly #verifier: Verifier;
  readonly #maxBytes: number | undefined;
  #caches: Caches | undefined;
  #cache: BinaryCache | undefined;

  constructor(init: { folder: string; paths: readonly ModelPath[]; verifier: Verifier; maxBytes: number | undefined }) {
    this.folder = init.folder;
    this.paths = init.paths;
    this.#verifier = init.verifier;
    this.#maxBytes = init.maxBytes;
  }

  get cache(): BinaryCache {
    assert.ok(this.#cache);
    return this.#cache;
  }

  get maxBytes(): number | undefined {
    return this.#maxBytes;
  }

  async open(): Promise<void> {
    const { unusedDays, minAgeDays, graceDays } = RULES;
    this.#caches = await openCaches({
      ...{ data: this.folder, manifest: MANIFEST, verifier: this.#verifier },
      settings: {
        ...{ housekeepingMs: 3600_000, rootsFirstMs: 0, moveGraceMs: 0, orphanRetentionMs: RULES.orphanDays * DAY },
        retention: {
          ...defaultSettings.retention,
          ...{ unusedMs: unusedDays * DAY, minAgeMs: minAgeDays * DAY, graceMs: graceDays * DAY },
          maxBytes: this.#maxBytes,
        },
      },
    });
    this.#cache = this.#caches.get('main');
    await until('all hash parts are known', () => this.cache.paths.loaded);
  }

  async close(): Promise<void> {
    await this.#caches?.close();
  }

  file(it: number, variant: number): TestPath {
    const file = this.paths[it]?.files[variant];
    assert.ok(file);
    return file;
  }

  putNar(file: TestPath): Promise<void> {
    return this.cache.nars.put(file.narUrl.slice(4), Readable.from([file.file]), file.file.length);
  }

  /** So many days go by. */
  async pass(days: number): Promise<void> {
    const ms = Math.round(days * DAY);
    await this.cache.database.script([
      [`UPDATE meta SET value = '0' WHERE key = 'uses_since'`],
      ['UPDATE paths SET published_at = published_at - ?', ms],
      ['UPDATE uses SET used_at = used_at - ?', ms],
      [
        'UPDATE retired SET retired_at = retired_at - ?, published_at = published_at - ?, used_at = used_at - ?',
        ...[ms, ms, ms],
      ],
      ['UPDATE objects SET orphan_since = orphan_since - ? WHERE orphan_since > 0', ms],
    ]);
  }

  async object(key: string): Promise<Movable & { state: string }> {
    const [row] = await this.cache.database.query<Movable & { state: string }>(
      'SELECT id, key, storage, name, size, file_hash, state FROM objects WHERE key = ?',
      [key],
    );
    assert.ok(row, key);
    return row;
  }
}

type Step = fc.AsyncCommand<RetentionModel, Real>;

/** Everything that goes on in the background is done after each step, and both say the same. */
function step(
  name: string,
  run: (model: RetentionModel, real: Real) => Promise<void> | void,
  isPossible = (_model: RetentionModel) => true,
): Step {
  return {
    check: isPossible,
    async run(model, real) {
      await run(model, real);
      await settle(real.cache);
      await compare(model, real, name);
      // What two pushes of one day differ in says nothing.
      model.now += 0.2;
      await real.pass(0.2);
    },
    toString: () => name,
  };
}

async function settle(cache: BinaryCache): Promise<void> {
  await cache.uses.flush();
  for (let round = 0; round < 2; round++) await until('closures are tended', () => cache.closures.tend());
  cache.objects.collect();
  await cache.objects.idle();
}

async function compare(model: RetentionModel, real: Real, name: string): Promise<void> {
  const { cache, paths } = real;
  await assertSoundRows(cache.database, name);
  const numberOf = new Map(paths.map((it, index) => [it.files[0].hashPart, index]));
  const keysOf = async (table: string) => {
    const rows = await cache.database.query<{ hash_part: string; key: string }>(
      `SELECT t.hash_part, o.key FROM ${table} t JOIN objects o ON o.id = t.object_id`,
    );
    return rows.map((row) => `${numberOf.get(row.hash_part)} ${row.key}`).sort();
  };
  const modelKeys = (entries: ReadonlyMap<number, { key: string }>) =>
    [...entries].map(([it, { key }]) => `${it} ${key}`).sort();
  assert.deepEqual(await keysOf('paths'), modelKeys(model.published), `published after ${name}`);
  assert.deepEqual(await keysOf('retired'), modelKeys(model.retired), `retired after ${name}`);
  const served: number[] = [];
  for (const [it, { files }] of paths.entries()) if (await cache.paths.find(files[0].hashPart)) served.push(it);
  assert.deepEqual(
    served,
    [...paths.keys()].filter((it) => model.isServable(it)),
    `served after ${name}`,
  );
  const missing: number[] = [];
  for (const [it, { files }] of paths.entries())
    if (!(await cache.paths.isPublished(files[0].hashPart))) missing.push(it);
  assert.deepEqual(
    missing,
    [...paths.keys()].filter((it) => !model.isPresent(it)),
    `missing after ${name}`,
  );
  const rows = await cache.database.query<{ key: string | null; storage: string; name: string; state: string }>(
    'SELECT key, storage, name, state FROM objects',
  );
  const objects = rows.map((row) => `${row.key} ${row.state}`).sort();
  const modelObjects = [...model.objects].map(([key, { isLost }]) => `${key} ${isLost ? 'lost' : 'verified'}`).sort();
  assert.deepEqual(objects, modelObjects, `objects after ${name}`);
  const files: string[] = [];
  for (const storage of ['one', 'two'])
    for (const entry of await readdir(path.join(real.folder, 'main', 'storages', storage, 'objects'), {
      recursive: true,
      withFileTypes: true,
    }).catch(() => []))
      if (entry.isFile()) files.push(`${storage} ${entry.name}`);
  const known = rows
    .filter((row) => row.state === 'verified')
    .map((row) => `${row.storage} ${path.basename(row.name)}`);
  assert.deepEqual(files.sort(), known.sort(), `bytes after ${name}`);
}

const logger = pino({ level: 'silent' });
const which = fc.integer({ min: 0, max: REFERENCES.length - 1 });
const variant = fc.constantFrom(0, 0, 0, 1);
const keyAt = (model: RetentionModel, it: number, of: number) => model.paths[it]?.files[of]?.narUrl ?? '';

const STEPS: fc.Arbitrary<Step>[] = [
  fc.tuple(which, variant).map(([it, of]) =>
    step(`push ${it}/${of}`, async (model, real) => {
      const file = real.file(it, of);
      await real.putNar(file);
      model.putNar(file.narUrl);
      await real.cache.nars.publishNarinfo(file.hashPart, file.narinfo);
      model.publish(it, file.narUrl);
    }),
  ),
  fc.tuple(which, variant).map(([it, of]) =>
    step(`put the NAR of ${it}/${of}`, async (model, real) => {
      await real.putNar(real.file(it, of));
      model.putNar(keyAt(model, it, of));
    }),
  ),
  fc.tuple(which, variant).map(([it, of]) =>
    step(
      `put the narinfo of ${it}/${of}`,
      async (model, real) => {
        const file = real.file(it, of);
        await real.cache.nars.publishNarinfo(file.hashPart, file.narinfo);
        model.publish(it, file.narUrl);
      },
      (model) => model.objects.get(keyAt(model, it, of))?.isLost === false,
    ),
  ),
  which.map((it) =>
    step(
      `use ${it}`,
      (model, real) => {
        real.cache.uses.touch(real.file(it, 0).hashPart);
        model.use(it);
      },
      (model) => model.isServable(it),
    ),
  ),
  which.map((it) =>
    step(`ask for ${it}`, async (model, real) => {
      const { paths } = real.cache;
      const { hashPart } = real.file(it, 0);
      const missing = await paths.missing([hashPart]);
      await paths.revive(missing);
      if (model.isPresent(it)) model.use(it);
      else model.revive([it]);
    }),
  ),
  fc.constantFrom(0.7, 1.57, 2.3, 31.3).map((days) =>
    step(`${days} days`, async (model, real) => {
      await real.pass(days);
      model.now += days;
    }),
  ),
  fc.constant(step('collect', collect)),
  fc.constant(
    step('end graces', async (model, real) => {
      const init = { database: real.cache.database, objects: real.cache.objects, logger };
      await expireRetired(init, Date.now() - RULES.graceDays * DAY, NEVER);
      await dropOrphans(init, Date.now() - RULES.orphanDays * DAY);
      model.expire();
    }),
  ),
  fc.tuple(which, variant).map(([it, of]) =>
    step(
      `lose ${it}/${of}`,
      async (model, real) => {
        const key = keyAt(model, it, of);
        const object = await real.object(key);
        await real.cache.storages.get(object.storage).delete(object.name);
        assert.ok(await real.cache.lost.report(object));
        const lost = model.objects.get(key);
        if (lost !== undefined) lost.isLost = true;
      },
      (model) => model.objects.get(keyAt(model, it, of))?.isLost === false,
    ),
  ),
  fc.tuple(which, variant).map(([it, of]) =>
    step(
      `give up ${it}/${of}`,
      async (model, real) => {
        assert.ok(await real.cache.lost.giveUp(await real.object(keyAt(model, it, of))));
        model.giveUp(keyAt(model, it, of));
      },
      (model) => model.objects.get(keyAt(model, it, of))?.isLost === true,
    ),
  ),
  fc.tuple(which, variant).map(([it, of]) =>
    step(
      `move ${it}/${of}`,
      async (model, real) => {
        const object = await real.object(keyAt(model, it, of));
        const storage = real.cache.storages.get(object.storage === 'one' ? 'two' : 'one');
        assert.ok(
          await real.cache.mover.move(object, { storage, grow() {}, release() {} }, { signal: NEVER, isAlone: true }),
        );
      },
      (model) => model.objects.get(keyAt(model, it, of))?.isLost === false,
    ),
  ),
  fc.constant(
    step('restart', async (_model, real) => {
      await real.close();
      await real.open();
    }),
  ),
];

/** By age all is known beforehand; by size the model takes over which ones it was, if it may have been these. */
async function collect(model: RetentionModel, real: Real): Promise<void> {
  const { cache, maxBytes } = real;
  const row = await cache.retention.collect(true, NEVER);
  assert.equal(row?.state, 'done');
  const unused = model.unused();
  if (maxBytes === undefined) {
    model.retire(unused);
    return;
  }
  const rows = await cache.database.query<{ hash_part: string }>('SELECT hash_part FROM paths');
  const left = new Set(rows.map((it) => it.hash_part));
  const gone = [...model.published.keys()].filter((it) => !left.has(real.file(it, 0).hashPart));
  const kept = model.protected();
  assert.deepEqual(
    gone.filter((it) => kept.has(it)),
    [],
    'nothing that is young, or needed by it, goes',
  );
  assert.deepEqual(
    unused.filter((it) => !gone.includes(it)),
    [],
    'all goes that nobody uses',
  );
  model.retire(gone);
  const keys = new Set([...model.published.values()].map((entry) => entry.key));
  const sizes = new Map(real.paths.flatMap((it) => it.files.map((file) => [file.narUrl, file.file.length] as const)));
  const bytes = [...keys].reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0);
  const rest = [...model.published.keys()].filter((it) => !kept.has(it));
  if (rest.length > 0) assert.ok(bytes <= maxBytes, `${bytes} bytes are left`);
}

describe('a cache with retention and a model of it', function () {
  this.timeout(isLong ? 1_800_000 : 120_000);
  const verifier = new Verifier();
  after(() => verifier.stop());

  for (const maxBytes of [undefined, 3000])
    it(`hold the same ${maxBytes === undefined ? 'by age' : 'by size'}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.commands(STEPS, { maxCommands: isLong ? 60 : 30, size: 'max' }), async (steps) => {
          const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-model-'));
          const paths = makePaths();
          const real = new Real({ folder, paths, verifier, maxBytes });
          try {
            await real.open();
            await fc.asyncModelRun(() => ({ model: new RetentionModel(paths, RULES), real }), steps);
          } finally {
            await real.close();
            await rm(folder, { recursive: true, force: true });
          }
        }),
        { numRuns: isLong ? 300 : 12, endOnFailure: !isLong },
      );
    });
});
