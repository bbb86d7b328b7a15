/** Closures where two servers publish and lose at once: neither sees what the other has not committed. */
import assert from 'node:assert/strict';
import type { TestPath } from '../support/nars.ts';
import { refer } from '../support/paths.ts';
import { PostgresServer } from '../support/postgres.ts';
import { until } from '../support/server.ts';
import { StoppableServer } from '../support/stoppable-server.ts';

describe('closures of servers that share a database', () => {
  let postgres: PostgresServer;
  let servers: [StoppableServer, StoppableServer];
  let a: StoppableServer;
  let b: StoppableServer;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  beforeEach(async () => {
    const url = await postgres.createDatabase();
    servers = [await StoppableServer.open(url), await StoppableServer.open(url)];
    [a, b] = servers;
  });
  afterEach(async () => {
    for (const server of servers) await server.close();
  });
  after(async () => {
    await postgres.remove();
  });

  /** Up to right before the COMMIT; what it resolves with goes on. */
  const publishHalf = (server: StoppableServer, it: TestPath) =>
    server.half({ commitOf: /INSERT INTO paths/ }, () => server.publish(it));
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
      const finishRoot = await publishHalf(a, root);
      const finishLeaf = await publishHalf(b, leaf);
      for (const finish of needingFirst ? [finishRoot, finishLeaf] : [finishLeaf, finishRoot]) await finish();
      for (const it of [leaf, root, top]) await everywhere(it, true);
      await noWaits();
    }
  });

  it('the same where both commit at one moment', async () => {
    for (let round = 0; round < 10; round++) {
      const leaf = refer('leaf');
      const root = refer('root', leaf);
      const finish = [await publishHalf(a, root), await publishHalf(b, leaf)];
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
    const finish = await publishHalf(a, root);
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
