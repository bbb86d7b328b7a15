import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Paths } from '../../../../server/cache/paths/paths.ts';
import { RecentMisses } from '../../../../server/cache/paths/recent-misses.ts';
import { Keys } from '../../../../server/cache/signing/keys.ts';
import { type ChangeListener, type Database, SqliteDatabase } from '../../../../server/metadata/index.ts';
import { closuresOf } from '../../../support/closures.ts';
import { makePath } from '../../../support/nars.ts';
import { usesOf } from '../../../support/uses.ts';

/** A database of which a test decides when it answers, and what is heard of it. */
class SlowDatabase {
  readonly answers: ((rows: object[]) => void)[] = [];
  listener: ChangeListener | undefined;
  readonly #inner: Database;

  constructor(inner: Database) {
    this.#inner = inner;
  }

  get database(): Database {
    const query = <Row>(text: string) =>
      text.includes('reltuples')
        ? Promise.resolve([])
        : new Promise<Row[]>((resolve) => this.answers.push(resolve as (rows: object[]) => void));
    const watch = (listener: ChangeListener) => {
      this.listener = listener;
      return () => {};
    };
    return Object.assign(Object.create(this.#inner), { isShared: true, query, watch });
  }

  async answer(rows: object[]): Promise<void> {
    this.answers.shift()?.(rows);
    await turn();
  }
}

describe('paths of a shared database', () => {
  let folder: string;
  let sqlite: SqliteDatabase;
  let slow: SlowDatabase;
  let paths: Paths;
  const wanted = makePath();
  const row = {
    hash_part: wanted.hashPart,
    name: wanted.name,
    refs: '',
    deriver: null,
    ca: null,
    signatures: 'a:AAAA',
    nar_hash: wanted.narHash,
    nar_size: wanted.nar.length,
    key: wanted.narUrl,
    size: 1,
    compression: 'zstd',
    file_hash: wanted.fileHash,
  };
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-paths-'));
    sqlite = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    const keys = await Keys.load({
      folder,
      cache: 'main',
      host: 'localhost',
      renameHost: false,
      signing: { mode: 'SelfSigned', secretKeys: [], publicKeys: [] },
      rootSecret: 'generated',
      missing: undefined,
      database: sqlite,
    });
    slow = new SlowDatabase(sqlite);
    paths = new Paths({
      ...{ database: slow.database, closures: closuresOf(slow.database), keys: () => keys },
      uses: usesOf(slow.database),
      ...{ cacheBytes: 2 ** 20, look: async () => {} },
    });
    await paths.load(new AbortController().signal);
  });
  afterEach(async () => {
    await sqlite.close();
    await rm(folder, { recursive: true, force: true });
  });

  const known = () => paths.peek(wanted.hashPart);
  const find = () => paths.find(wanted.hashPart);

  it('are not remembered before changes are heard', async () => {
    const reading = find();
    await slow.answer([row]);
    assert.ok(await reading);
    assert.equal(known(), undefined);
  });

  it('are remembered once they are, and so are misses', async () => {
    slow.listener?.onLive();
    const reading = find();
    await slow.answer([]);
    assert.equal(await reading, undefined);
    assert.equal(known(), 'missing');
    slow.listener?.onChange(wanted.hashPart);
    assert.equal(known(), undefined);
    const again = find();
    await slow.answer([row]);
    assert.equal(known(), await again);
  });

  for (const [what, happens] of [
    ['a change', (it: ChangeListener) => it.onChange(wanted.hashPart)],
    ['a gap', (it: ChangeListener) => it.onGap()],
    ['a gap that is over', (it: ChangeListener) => [it.onGap(), it.onLive()]],
  ] as const)
    it(`are not remembered by a look-up that began before ${what}`, async () => {
      slow.listener?.onLive();
      const before = find();
      if (slow.listener !== undefined) happens(slow.listener);
      const after = find();
      await slow.answer([]);
      assert.equal(await before, undefined);
      assert.equal(known(), undefined);
      await slow.answer([row]);
      assert.ok(await after, 'who asks later gets what was read later');
    });

  it('are remembered by a look-up that begins after the change, while an older one still runs', async () => {
    slow.listener?.onLive();
    const before = find();
    slow.listener?.onChange(wanted.hashPart);
    const after = find();
    const [first, second] = slow.answers.splice(0);
    second?.([row]);
    await turn();
    assert.equal(known(), await after);
    first?.([]);
    assert.equal(await before, undefined);
    assert.equal(known(), await after);
  });

  it('are all forgotten in a gap', async () => {
    slow.listener?.onLive();
    const reading = find();
    await slow.answer([row]);
    assert.equal(known(), await reading);
    slow.listener?.onGap();
    assert.equal(known(), undefined);
  });
});

describe('a miss', () => {
  it('is remembered for a second from when the look-up began', () => {
    const misses = new RecentMisses();
    misses.add('a', 1000);
    assert.ok(misses.has('a', 1999));
    assert.ok(!misses.has('a', 2000));
    assert.ok(!misses.has('b', 1000));
  });
});
