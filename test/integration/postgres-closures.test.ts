/** Closures where two servers publish and lose at once: neither sees what the other has not committed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Closures } from '../../server/cache/closures/index.ts';
import { closingStatements } from '../../server/cache/closures/index.ts';
import { markLost } from '../../server/cache/objects/lost-rows.ts';
import type { KnownObject } from '../../server/cache/objects/object.ts';
import { Paths } from '../../server/cache/paths/paths.ts';
import { Keys } from '../../server/cache/signing/keys.ts';
import type { Database, PostgresDatabase } from '../../server/metadata/index.ts';
import { closuresOf } from '../support/closures.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { until } from '../support/server.ts';
import { usesOf } from '../support/uses.ts';

/** One of the servers, which can be stopped right before the COMMIT of a publish. */
class Server {
  readonly paths: Paths;
  readonly closures: Closures;
  readonly database: PostgresDatabase;
  /** What a publish waits for before it commits, and hears that it has come there. */
  stopsAt: { arrived: () => void; goOn: Promise<void> } | undefined;

  constructor(database: PostgresDatabase, keys: Keys) {
    this.database = database;
    this.closures = closuresOf(database);
    this.paths = new Paths({
      ...{ database: this.#stoppable(), closures: this.closures, keys: () => keys },
      ...{ uses: usesOf(database), cacheBytes: 2 ** 20, look: async () => {} },
    });
    this.closures.start((hashParts) => this.paths.forget(hashParts));
  }

  #stoppable(): Database {
    const script: Database['script'] = async (statements, durability) => {
      const stop = this.stopsAt;
      if (stop === undefined) return this.database.script(statements, durability);
      this.stopsAt = undefined;
      await this.database.write(async (sql) => {
        await sql.run(statements);
        stop.arrived();
        await stop.goOn;
      });
    };
    return new Proxy<Database>(this.database, {
      get: (target, name) => {
        if (name === 'script') return script;
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  async publish(it: TestPath): Promise<void> {
    const { hashPart, name, references, narHash, nar, file, fileHash } = it;
    const facts = { compression: 'zstd', fileHash, narHash, narSize: nar.length };
    await this.paths.publish(
      {
        ...{ hashPart, name, references, narHash, narSize: nar.length },
        ...{ deriver: undefined, ca: undefined, signatures: [] },
      },
      {
        object: { key: it.narUrl, storage: 'disk', name: randomBytes(8).toString('hex'), size: file.length },
        facts,
      },
    );
  }

  /** Publishes up to right before the COMMIT; what it resolves with goes on. */
  async publishHalf(it: TestPath): Promise<() => Promise<void>> {
    let goOn = () => {};
    let done: Promise<void> | undefined;
    await new Promise<void>((resolve, reject) => {
      this.stopsAt = {
        arrived: resolve,
        goOn: new Promise((open) => {
          goOn = open;
        }),
      };
      done = this.publish(it);
      done.catch(reject);
    });
    return async () => {
      goOn();
      await done;
    };
  }

  async lose(it: TestPath): Promise<void> {
    await this.database.write(async (sql) => {
      const [object] = await sql.query<KnownObject>('SELECT id, key, storage, name, size FROM objects WHERE key = ?', [
        it.narUrl,
      ]);
      assert.ok(object);
      const marked = await markLost(sql, object, 'missing');
      await sql.run([...closingStatements(marked ?? []), ...this.database.announce(marked ?? [])]);
    });
  }

  async tend(): Promise<void> {
    await until('closures are tended', () => this.closures.tend());
  }
}

function refer(name: string, ...to: readonly TestPath[]): TestPath {
  return makePath({ name, references: to.map((it) => `${it.hashPart}-${it.name}`) });
}

describe('closures of servers that share a database', () => {
  let postgres: PostgresServer;
  let servers: [Server, Server];
  let a: Server;
  let b: Server;
  const stopping = new AbortController();
  before(async () => {
    postgres = await PostgresServer.start();
  });
  beforeEach(async () => {
    const url = await postgres.createDatabase();
    const open = async () => {
      const database = await openSchema(url);
      const keys = await Keys.load({
        ...{ folder: undefined, cache: 'main', host: 'localhost', renameHost: false, missing: undefined, database },
        signing: { mode: 'SelfSigned', secretKeys: [], publicKeys: [] },
        rootSecret: Buffer.alloc(32, 1),
      });
      const server = new Server(database, keys);
      await server.paths.load(stopping.signal);
      return server;
    };
    servers = [await open(), await open()];
    [a, b] = servers;
  });
  afterEach(async () => {
    for (const server of servers) {
      await server.closures.stop();
      await server.database.close();
    }
  });
  after(async () => {
    stopping.abort();
    await postgres.remove();
  });

  async function everywhere(it: TestPath, isServed: boolean): Promise<void> {
    for (const server of servers)
      await until(`${it.name} is ${isServed ? '' : 'not '}served`, async () => {
        return ((await server.paths.find(it.hashPart)) !== undefined) === isServed;
      });
  }
  async function noWaits(): Promise<void> {
    assert.deepEqual(await a.database.query('SELECT missing, path FROM waiting'), []);
  }

  it('a path whose transaction began before that of what it needs is opened, whoever commits first', async () => {
    for (const needingFirst of [true, false]) {
      const leaf = refer('leaf');
      const root = refer('root', leaf);
      const top = refer('top', root);
      await b.publish(top);
      const finishRoot = await a.publishHalf(root);
      const finishLeaf = await b.publishHalf(leaf);
      for (const finish of needingFirst ? [finishRoot, finishLeaf] : [finishLeaf, finishRoot]) await finish();
      for (const it of [leaf, root, top]) await everywhere(it, true);
      await noWaits();
    }
  });

  it('the same where both commit at one moment', async () => {
    for (let round = 0; round < 10; round++) {
      const leaf = refer('leaf');
      const root = refer('root', leaf);
      const finish = [await a.publishHalf(root), await b.publishHalf(leaf)];
      await Promise.all(finish.map((it) => it()));
      for (const it of [leaf, root]) await everywhere(it, true);
      await noWaits();
    }
  });

  it('a path whose last two needs are published at one moment is opened, and who waits for it', async () => {
    for (let round = 0; round < 10; round++) {
      const [one, two] = [refer('one'), refer('two')];
      const root = refer('root', one, two);
      const top = refer('top', root);
      for (const it of [top, root]) await a.publish(it);
      await Promise.all([a.publish(one), b.publish(two)]);
      for (const it of [root, top]) await everywhere(it, true);
      await noWaits();
    }
  });

  it('what is lost while a path that needs it is being published closes that path, and who took it for whole', async () => {
    const leaf = refer('leaf');
    const root = refer('root', leaf);
    const top = refer('top', root);
    await a.publish(leaf);
    const finish = await a.publishHalf(root);
    await b.publish(top);
    await b.lose(leaf);
    await b.tend();
    await finish();
    await a.tend();
    for (const it of [leaf, root, top]) await everywhere(it, false);
    await b.publish(leaf);
    for (const it of [leaf, root, top]) await everywhere(it, true);
    await noWaits();
  });

  it('a path that is lost and healed again and again ends as the last of it says', async () => {
    const leaf = refer('leaf');
    const chain = [leaf];
    for (let i = 0; i < 5; i++) chain.push(refer(`c${i}`, chain.at(-1) ?? leaf));
    for (const it of chain) await a.publish(it);
    for (let round = 0; round < 4; round++) {
      await b.lose(leaf);
      await Promise.all([a.tend(), b.publish(leaf)]);
    }
    await a.tend();
    for (const it of chain) await everywhere(it, true);
    await b.lose(leaf);
    await Promise.all([a.tend(), b.tend()]);
    for (const it of chain) await everywhere(it, false);
  });

  it('one server tends them at a time, and the other goes on where it died', async () => {
    const leaf = refer('leaf');
    const root = refer('root', leaf);
    for (const it of [leaf, root]) await a.publish(it);
    await a.lose(leaf);
    // As one leaves it that died in the middle of its look.
    await a.database.script([['UPDATE closing SET taken = 77']]);
    await b.tend();
    await everywhere(root, false);
    assert.deepEqual(await a.database.query('SELECT * FROM closing'), []);
  });
});
