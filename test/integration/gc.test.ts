import assert from 'node:assert/strict';
import type { ServerStatus } from '../../crds/index.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { ASKED_ONLY, GcClient, GREEDY, refer } from '../support/gc.ts';
import { makePath } from '../support/nars.ts';
import { isServed, pushByPut } from '../support/push.ts';
import type { Reply } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const STRANGER = 'no such cache, or no access to it without a token that it knows\n';

function assertRefused({ status, text }: Reply, wanted: number, line: RegExp | string): void {
  assert.equal(status, wanted, text);
  if (typeof line === 'string') assert.equal(text, line);
  else assert.match(text, line);
  assert.match(text, /^[ -~]+\n$/);
}

describe('the garbage collection by HTTP', () => {
  let server: TestServer;
  let admin: GcClient;
  beforeEach(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `${standardSpec}${GREEDY}`), args: ASKED_ONLY });
    admin = GcClient.of(server, 'admin');
  });
  afterEach(() => server.remove());

  async function restart(args: readonly string[]): Promise<void> {
    await server.stop();
    await server.restart(args);
    admin = GcClient.of(server, 'admin');
  }
  const statusOf = async () =>
    ((await (await fetch(`${server.adminUrl}/status`)).json()) as ServerStatus).caches[0]?.usage;
  const metricsOf = async () => (await fetch(`${server.adminUrl}/metrics`)).text();

  it('tells what a run would remove and why, the largest first, and removes nothing', async () => {
    const small = makePath({ name: 'small', contents: Buffer.from('x'), compression: 'none' });
    const large = makePath({ name: 'large', contents: Buffer.alloc(50_000, 'x'), compression: 'none' });
    for (const it of [small, large]) await pushByPut(server, it);
    const before = Date.now();
    const [plan, taken] = await admin.lines('/gc/plan');
    const bytes = small.file.length + large.file.length;
    const { held, ...numbers } = plan;
    assert.deepEqual(numbers, { paths: 2, bytes, removedPaths: 2, removedBytes: bytes });
    assert.match(String(held), /^it would remove 49KiB of 49KiB$/);
    assert.deepEqual(
      taken.map(({ storePath, size, reason }) => [storePath, size, reason]),
      [large, small].map((it) => [it.storePath, it.file.length, 'maxSize']),
    );
    for (const { usedAt } of taken) assert.ok(Math.abs(Date.parse(usedAt) - before) < 600_000);
    const [, first] = await admin.lines('/gc/plan?limit=1');
    assert.deepEqual(
      first.map(({ storePath }) => storePath),
      [large.storePath],
    );
    for (const it of [small, large]) assert.ok(await isServed(server, it));
    assert.deepEqual(await admin.runs(), []);
  });

  it('waits to be confirmed, and removes what it was confirmed to', async () => {
    const lib = refer('lib');
    const app = refer('app', lib);
    for (const it of [lib, app]) await pushByPut(server, it);
    assert.deepEqual(await statusOf(), {
      ...{ bytes: lib.file.length + app.file.length, paths: 2, retiredPaths: 0, lastGC: null },
    });

    const held = await admin.run(false);
    assert.deepEqual([held.state, held.removedPaths], ['held', 2]);
    assert.match(held.message ?? '', /^it would remove \S+ of \S+$/);
    // Whoever looks at a path uses it.
    assert.equal((await statusOf())?.paths, 2);
    assert.equal((await statusOf())?.lastGC?.state, 'held');
    assert.match(await metricsOf(), /^narwhal_collection_result\{cache="main",result="held"\} 1$/m);

    const done = await admin.run(true);
    assert.deepEqual([done.state, done.removedPaths, done.message], ['done', 2, null]);
    for (const it of [lib, app]) assert.ok(!(await isServed(server, it)));
    assert.deepEqual(
      (await admin.runs()).map(({ run, state }) => [run, state]),
      [
        [2, 'done'],
        [1, 'held'],
      ],
    );
    const [run, taken] = await admin.lines('/gc/2');
    assert.deepEqual({ ...run, leftPaths: 0 }, { ...done, leftPaths: 0 });
    assert.deepEqual(taken.map(({ storePath }) => storePath).sort(), [lib.storePath, app.storePath].sort());
    // Bytes are there until the grace is over.
    assert.deepEqual(await statusOf(), {
      ...{ bytes: lib.file.length + app.file.length, paths: 0, retiredPaths: 2, lastGC: done },
    });
    const series = await metricsOf();
    for (const line of [
      'narwhal_collections_total{cache="main",result="held"} 1',
      'narwhal_collections_total{cache="main",result="done"} 1',
      'narwhal_collection_removed_paths_total{cache="main"} 2',
      `narwhal_collection_removed_bytes_total{cache="main"} ${lib.file.length + app.file.length}`,
      'narwhal_collection_seconds_count{cache="main"} 2',
      'narwhal_retired_paths{cache="main"} 2',
      'narwhal_collection_result{cache="main",result="done"} 1',
      'narwhal_collection_result{cache="main",result="held"} 0',
    ])
      assert.ok(series.includes(`${line}\n`), line);
  });

  it('goes on at the next start where the server was stopped, and is begun once', async () => {
    await restart(['--housekeeping-interval', '0.1', '--roots-first', '3600']);
    const lib = refer('lib');
    const app = refer('app', lib);
    await until('the schedule has looked', async () => (await admin.runs())[0]?.state === 'done');
    for (const it of [lib, app]) await pushByPut(server, it);
    assert.equal((await admin.start(true)).status, 202);
    await until('the root is gone', async () => (await statusOf())?.paths === 1);
    assertRefused(await admin.start(true), 409, 'a collection of this cache runs now; try again when it is over\n');
    await until('one path is left to go', async () => {
      const [run] = await admin.lines(`/gc/${(await admin.runs())[0]?.run}`);
      assert.deepEqual([run.state, run.endedAt], ['running', null]);
      return run.leftPaths === 1;
    });
    assert.equal((await statusOf())?.lastGC?.state, 'running');
    await restart(['--housekeeping-interval', '0.1', '--roots-first', '0.1']);
    await until('it is over', async () => (await admin.runs())[0]?.state === 'done');
    assert.equal((await admin.runs())[0]?.removedPaths, 2);
  });

  it('is told to holders of a token, and begun by administrators', async () => {
    const [stranger, reader, writer] = [undefined, 'read', 'push'].map((name) => GcClient.of(server, name));
    assert.ok(stranger && reader && writer);
    await admin.run(true);
    const [told] = await reader.runs();
    assert.equal(told?.state, 'done');
    // Why something failed is for administrators.
    assert.ok(told && !('message' in told));
    assertRefused(await stranger.send('GET', '/gc'), 401, STRANGER);
    for (const [method, path] of [
      ['GET', '/gc/plan'],
      ['GET', '/gc/1'],
      ['POST', '/gc'],
    ] as const) {
      assert.equal((await stranger.send(method, path, method === 'POST' ? '{}' : undefined)).status, 401);
      for (const client of [reader, writer])
        assertRefused(
          await client.send(method, path, method === 'POST' ? '{}' : undefined),
          401,
          /^cache main: token \w+ has the permission \w+, this needs Admin\n$/,
        );
    }
    assert.equal((await admin.runs()).length, 1);
  });

  it('refuses in one line what nobody means, and changes nothing', async () => {
    const CONFIRM = 'expected {"confirm": true} or {"confirm": false}\n';
    const rows: readonly (readonly [string, string, string | undefined, number, RegExp | string])[] = [
      ['POST', '/gc', '', 400, /^the body is empty/],
      ['POST', '/gc', '{', 400, /JSON/],
      ['POST', '/gc', '[]', 400, 'expected a JSON object\n'],
      ['POST', '/gc', 'null', 400, 'expected a JSON object\n'],
      ['POST', '/gc', '{"confirm":"yes"}', 400, CONFIRM],
      ['POST', '/gc', '{"confirm":1}', 400, CONFIRM],
      ['POST', '/gc', '{"confirm":true,"force":true}', 400, CONFIRM],
      ['POST', '/gc', `{"confirm":true,"a":"${'x'.repeat(2000)}"}`, 413, /./],
      ['POST', '/gc/plan', '{}', 404, 'not found\n'],
      ['GET', '/gc/plan?limit=-1', undefined, 400, 'limit: expected a whole number\n'],
      ['GET', '/gc/plan?limit=all', undefined, 400, 'limit: expected a whole number\n'],
      ['GET', '/gc/0', undefined, 404, 'no such run of the garbage collection\n'],
      ['GET', '/gc/1', undefined, 404, 'no such run of the garbage collection\n'],
      ['GET', '/gc/99999999999999999999', undefined, 404, 'no such run of the garbage collection\n'],
      ['GET', '/gc/1e3', undefined, 404, 'no such run of the garbage collection\n'],
      ['GET', '/gc/1/2', undefined, 404, 'not found\n'],
      ['DELETE', '/gc/1', undefined, 405, /./],
    ];
    for (const [method, path, body, status, line] of rows)
      assertRefused(await admin.send(method, path, body), status, line);
    assert.deepEqual(await admin.runs(), []);
  });

  it('passes the gateway, also where the cache is private', async () => {
    const pair = await GatewayPair.start();
    try {
      for (const [cache, its] of [
        ['main', pair.main],
        ['private', pair.secret],
      ] as const) {
        const [known, stranger] = [
          new GcClient(pair.api(cache), () => its.auth('admin', cache)),
          new GcClient(pair.api(cache)),
        ];
        assert.equal((await known.run(false)).state, 'done');
        assert.equal((await known.lines('/gc/plan'))[0].removedPaths, 0);
        assert.equal((await known.lines('/gc/1'))[0].run, 1);
        assertRefused(await stranger.send('GET', '/gc'), 401, STRANGER);
        assertRefused(await stranger.send('GET', '/gc/plan'), 401, /./);
        assertRefused(await stranger.start(true), 401, /./);
      }
    } finally {
      await pair.remove();
    }
  });
});
