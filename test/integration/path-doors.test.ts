/** Single paths, by HTTP and by commands: why they are here, deletion, blocks. */
import assert from 'node:assert/strict';
import { runCli } from '../support/cli.ts';
import { refer } from '../support/gc.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, pushByCachix, pushByPut, Refusal } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const STRANGER = 'no such cache, or no access to it without a token that it knows\n';

describe('single paths', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', standardSpec) });
  });
  afterEach(() => server.remove());

  async function call(method: string, path: string, token?: string, body?: object) {
    const headers = token === undefined ? {} : await server.auth(token);
    const answer = await fetch(`${server.api()}${path}`, {
      ...{ method, headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, text, json: () => JSON.parse(text) as Record<string, unknown> };
  }
  const explain = async (it: Pick<TestPath, 'hashPart'>, token = 'admin') =>
    (await call('GET', `/explain/${it.hashPart}`, token)).json();
  const cli = (...words: readonly string[]) => runCli([...words, '--cache', 'main', '--data', server.data]);

  it('are explained: to everybody where they are published, else to who has a token', async () => {
    const leaf = makePath({ name: 'leaf' });
    const root = refer('root', leaf);
    await pushByPut(server, root);
    const waiting = await explain(root, 'read');
    assert.equal(waiting.state, 'waiting');
    assert.deepEqual(waiting.waitsFor, [leaf.hashPart]);
    assert.deepEqual(await explain(leaf), { state: 'unknown' });
    for (const it of [leaf, root]) {
      const { status, text } = await call('GET', `/explain/${it.hashPart}`);
      assert.deepEqual([status, text], [401, STRANGER]);
    }
    await pushByPut(server, leaf);
    const open = await call('GET', `/explain/${root.hashPart}`);
    assert.equal(open.status, 200);
    assert.equal(open.json().state, 'published');
    assert.equal(open.json().storePath, root.storePath);
    assert.equal((await call('DELETE', `/path/${root.hashPart}`, 'admin')).status, 200);
    const { state, reason, actor } = await explain(root);
    assert.deepEqual([state, reason, actor], ['retired', 'deleted', 'admin']);
    assert.ok(!('actor' in (await explain(root, 'read'))));
    const command = await cli('explain', root.storePath);
    assert.match(command.stdout, /was removed on .*: it was deleted by token admin\./);
    assert.match((await cli('explain', 'x')).stderr, /a path is named by the 32 characters of its hash/);
  });

  it('are deleted by an administrator, unless something needs them', async () => {
    const leaf = makePath({ name: 'leaf' });
    const root = refer('root', leaf);
    for (const it of [leaf, root]) await pushByPut(server, it);
    for (const [token, status] of [
      ['read', 401],
      ['push', 401],
      ['admin', 409],
    ] as const)
      assert.equal((await call('DELETE', `/path/${leaf.hashPart}`, token)).status, status);
    const refused = await call('DELETE', `/path/${leaf.hashPart}`, 'admin');
    assert.match(refused.text, new RegExp(`^${root.storePath} need it: .*referrers=delete.*\n$`));
    const first = await cli('delete', leaf.storePath);
    assert.equal(first.code, 1);
    assert.match(first.stderr, /need it/);
    const { code, stdout } = await cli('delete', leaf.storePath, '--with-referrers');
    assert.equal(code, 0);
    assert.deepEqual(stdout.trimEnd().split('\n').sort(), [leaf, root].map((it) => `deleted ${it.storePath}`).sort());
    for (const it of [leaf, root]) assert.ok(!(await isServed(server, it)));
    assert.equal((await call('DELETE', `/path/${makePath().hashPart}`, 'admin')).status, 404);
  });

  it('are not deleted while a pin holds them, unless told otherwise', async () => {
    const it = makePath();
    await pushByPut(server, it);
    const pin = { name: 'v1', storePath: it.storePath, artifacts: [], keep: null };
    assert.equal((await call('POST', '/pin', 'push', pin)).status, 200);
    const refused = await call('DELETE', `/path/${it.hashPart}`, 'admin');
    assert.deepEqual([refused.status, refused.text], [409, 'pin v1 holds it: unpin first, or say pins=ignore\n']);
    assert.equal((await call('DELETE', `/path/${it.hashPart}?pins=ignore`, 'admin')).status, 200);
    assert.ok(!(await isServed(server, it)));
  });

  it('that leaked are gone at once, and nobody brings them back', async () => {
    const it = makePath();
    await pushByPut(server, it);
    const { stdout, code } = await cli('delete', it.storePath, '--now', '--block', 'a key leaked');
    assert.equal(code, 0, stdout);
    assert.equal((await fetch(`${server.api()}/${it.narUrl}`)).status, 404);
    for (const push of [pushByPut, pushByCachix])
      await assert.rejects(push(server, it), (error: unknown) => {
        assert.ok(error instanceof Refusal);
        assert.deepEqual([error.status, error.text], [403, 'this is blocked here: a key leaked\n']);
        return true;
      });
    const blocks = (await call('GET', '/block', 'admin')).json() as unknown as Record<string, unknown>[];
    assert.deepEqual(
      blocks.map(({ hash, storePath, reason, actor }) => [hash, storePath, reason, actor]),
      [[it.hashPart, it.storePath, 'a key leaked', null]],
    );
    assert.match((await cli('block', 'list')).stdout, /a key leaked/);
    assert.equal((await cli('block', 'lift', it.storePath)).code, 0);
    await pushByPut(server, it);
    assert.ok(await isServed(server, it));
  });

  it('that are blocked have no listing either', async () => {
    const it = makePath();
    await pushByPut(server, it);
    const url = `${server.api()}/push/${it.hashPart}.ls`;
    const body = '{"version":1,"root":{"type":"regular","size":1}}';
    const put = async () => fetch(url, { method: 'PUT', body, headers: await server.auth('push') });
    assert.equal((await put()).status, 200);
    assert.equal((await call('DELETE', `/path/${it.hashPart}?now=true&block=leaked`, 'admin')).status, 200);
    assert.equal((await fetch(url)).status, 404);
    const again = await put();
    assert.deepEqual([again.status, await again.text()], [403, 'this is blocked here: leaked\n']);
    assert.equal((await fetch(url)).status, 404);
  });

  it('that wait are for who may push, also where pushers read', async () => {
    const root = refer('root', makePath());
    await pushByPut(server, root);
    for (const method of ['GET', 'HEAD'])
      for (const [token, status] of [
        [undefined, 404],
        ['read', 404],
        ['push', 200],
        ['admin', 200],
      ] as const) {
        const headers = token === undefined ? {} : await server.auth(token);
        const found = await fetch(`${server.api()}/push/${root.hashPart}.narinfo`, { method, headers });
        assert.equal(found.status, status, `${method} ${token}`);
      }
  });

  it('are blocked before anybody pushes them', async () => {
    const it = makePath();
    assert.equal((await cli('block', 'add', it.storePath, 'not here')).code, 0);
    await assert.rejects(pushByCachix(server, it), /403: this is blocked here: not here/);
    assert.match(
      (await cli('explain', it.storePath)).stdout,
      /was never seen here\nnobody may push it since .*: not here/,
    );
    await until(
      'the server is idle',
      async () => (await call('DELETE', `/block/${it.hashPart}`, 'admin')).status === 200,
    );
    await pushByCachix(server, it);
  });

  it('of bad requests nothing changes, and one line says what is wrong', async () => {
    const it = makePath();
    await pushByPut(server, it);
    const bad: readonly [string, string, RegExp, object?][] = [
      ['DELETE', '/path/x', /^a path is named by/],
      ['DELETE', `/path/${'e'.repeat(32)}`, /^a path is named by/],
      ['DELETE', `/path/${it.hashPart}?referrers=all`, /^referrers: expected refuse, delete, leave/],
      ['DELETE', `/path/${it.hashPart}?now=1`, /^now: expected/],
      ['DELETE', `/path/${it.hashPart}?block=`, /^reason: expected a line/],
      ['DELETE', `/path/${it.hashPart}?block=a%0ab`, /^reason: expected a line/],
      ['POST', '/block', /^expected \{"path"/, {}],
      ['POST', '/block', /^expected/, { path: it.storePath, reason: 'x', more: 1 }],
      ['POST', '/block', /^reason/, { path: it.storePath, reason: 'x'.repeat(501) }],
      ['POST', '/block', /^a path is named/, { path: '/nix/store/x', reason: 'x' }],
      ['GET', '/explain/x', /^a path is named by/],
    ];
    for (const [method, path, line, body] of bad) {
      const { status, text } = await call(method, path, 'admin', body);
      assert.equal(status, 400, `${method} ${path}: ${text}`);
      assert.match(text, line);
      assert.match(text, /^[^\n]+\n$/);
    }
    assert.ok(await isServed(server, it));
    assert.deepEqual((await call('GET', '/block', 'admin')).json(), []);
  });
});
