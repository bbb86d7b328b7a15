import assert from 'node:assert/strict';
import { Calls, claimOf } from '../support/cachix-calls.ts';
import { generateSigningKey, publicKeyOf } from '../support/cachix-client.ts';
import { claiming, type Pushable, pushableOf } from '../support/cachix-paths.ts';
import { type Answer, replay, scenario } from '../support/cachix-replay.ts';
import { stagedFiles } from '../support/disk.ts';
import { type Fate, FaultProxy, inTurn } from '../support/fault-proxy.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const SMALL = 95;

describe('what the official Cachix client 1.11.1 sent', () => {
  let proxy: FaultProxy;
  let server: TestServer;

  before(async () => {
    proxy = await FaultProxy.start();
    server = await TestServer.start({ args: ['--api-url', proxy.url] });
    proxy.target = server.url;
  });
  after(async () => {
    await server.remove();
    await proxy.close();
  });
  beforeEach(() => {
    proxy.fate = () => undefined;
  });

  async function run(name: string, paths: readonly Pushable[] = [], fate?: Fate): Promise<Answer[]> {
    if (fate !== undefined) proxy.fate = fate;
    const { host, port } = new URL(proxy.url);
    return replay(scenario(name), { port: Number(port), host, token: await server.token(), paths });
  }

  it('use: describes the cache', async () => {
    const [info] = await run('use');
    assertOk(info);
    assert.deepEqual(JSON.parse(info?.text ?? ''), {
      name: 'main',
      uri: proxy.url.replace('//', '//main.'),
      isPublic: true,
      publicSigningKeys: [await server.publicKey()],
      githubUsername: '',
      permission: 'Write',
      preferredCompressionMethod: 'ZSTD',
    });
  });

  it('doctor: says that a path is missing', async () => {
    const path = await pushableOf(SMALL);
    const answers = await run('doctor', [path]);
    assertAsRecorded('doctor', answers);
    assert.deepEqual(JSON.parse(answers[1]?.text ?? ''), [path.hashPart]);
  });

  it('push-small: publishes a path of one part', async () => {
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    assertAsRecorded('push-small', await run('push-small', [path]));
    await assertServed(server, path);
  });

  it('push-xz: publishes a path that is compressed with xz', async () => {
    const path = await pushableOf(144, { name: 'q.txt', compression: 'xz' });
    assertAsRecorded('push-xz', await run('push-xz', [path]));
    assert.match(await assertServed(server, path), /\nCompression: xz\n/);
  });

  it('push-64MiB-chunk-5MiB: puts 13 parts together', async () => {
    const recorded = scenario('push-64MiB-chunk-5MiB');
    const name = nameIn('push-64MiB-chunk-5MiB');
    const path = await pushableOf(12 * 5_242_880 + 4_195_961, { name });
    const answers = await run(recorded.name, [path]);
    assert.equal(answers.filter((answer) => answer.headers.has('etag')).length, 13);
    assertAsRecorded(recorded.name, answers);
    await assertServed(server, path);
  });

  it('daemon: publishes two paths at one time', async () => {
    const paths = [await pushableOf(SMALL, { name: 'q.txt' }), await pushableOf(197, { name: 'act' })];
    // The recorded batch names the path of 197 bytes first.
    const [first, second] = hashesOf('daemon') === 'q.txt' ? paths : paths.toReversed();
    if (first === undefined || second === undefined) throw new Error('two paths');
    assertAsRecorded('daemon', await run('daemon', [first, second]));
    for (const path of paths) await assertServed(server, path);
  });

  it('watch-store: asks twice, pushes once', async () => {
    const path = await pushableOf(97, { name: 'ws.txt' });
    assertAsRecorded('watch-store', await run('watch-store', [path]));
    await assertServed(server, path);
  });

  it('pin: pins under four names, each with its own rule', async () => {
    const path = await pushableOf(197, { name: 'act' });
    const upload = await (await Calls.as(server)).uploaded(path);
    assert.equal((await upload.complete(claimOf(path))).status, 200);
    const answers = await run('pin', [path]);
    assertAsRecorded('pin', answers);
    for (const { text, headers } of answers) assert.deepEqual([text, headers.get('content-length')], ['', '0']);
    const response = await fetch(`${server.api()}/pin`, { headers: await server.auth() });
    const pins = (await response.json()) as { name: string; lastRevision: Record<string, unknown> }[];
    assert.deepEqual(
      pins.map(({ name, lastRevision: { artifacts, keep, storePath } }) => ({ name, artifacts, keep, storePath })),
      [
        { name: 'a', artifacts: [], keep: null },
        { name: 'b', artifacts: ['activate'], keep: { tag: 'Days', contents: 3 } },
        { name: 'c', artifacts: [], keep: { tag: 'Revisions', contents: 2 } },
        { name: 'd', artifacts: [], keep: { tag: 'Forever' } },
      ].map((pin) => ({ ...pin, storePath: path.storePath })),
    );
  });

  it('push-429-retry-after: takes a query that is sent again', async () => {
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    const fate = inTurn(
      ({ url }) => url.endsWith('/narinfo'),
      [{ status: 429, headers: { 'Retry-After': '3' }, forward: false }],
    );
    assertAsRecorded('push-429-retry-after', await run('push-429-retry-after', [path], fate));
    await assertServed(server, path);
  });

  for (const forward of [false, true]) {
    const lost = forward ? 'after it was carried out' : 'before it was carried out';

    it(`push-part-503-once: takes a part again that failed ${lost}`, async () => {
      const path = await pushableOf(SMALL, { name: 'q.txt' });
      const fate = inTurn(({ method }) => method === 'PUT', [{ status: 503, forward }]);
      assertAsRecorded('push-part-503-once', await run('push-part-503-once', [path], fate));
      await assertServed(server, path);
    });

    it(`push-complete-500-twice: takes a completion again that failed ${lost}`, async () => {
      const path = await pushableOf(SMALL, { name: 'q.txt' });
      const fault = { status: 500, forward };
      const fate = inTurn(({ url }) => url.includes('/complete'), [fault, fault]);
      assertAsRecorded('push-complete-500-twice', await run('push-complete-500-twice', [path], fate));
      await assertServed(server, path);
    });
  }

  it('push-part-307: takes a part that was redirected', async () => {
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    proxy.fate = (request) => {
      if (request.method !== 'PUT' || request.url.includes('&again')) return undefined;
      return { status: 307, headers: { Location: `${proxy.url}${request.url}&again` }, forward: false };
    };
    assertAsRecorded('push-part-307', await run('push-part-307', [path]));
    await assertServed(server, path);
  });

  it('push-create-413: keeps nothing of creates that were refused', async () => {
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    const fault = { status: 413, forward: false };
    const fate = inTurn(({ url }) => url.includes('/multipart-nar'), [fault, fault, fault, fault]);
    assertAsRecorded('push-create-413', await run('push-create-413', [path], fate));
    assert.equal((await fetch(`${server.url}/${path.hashPart}.narinfo`)).status, 404);
  });

  it('push-complete-400: refuses four whole attempts and keeps no bytes of them', async () => {
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    const answers = await run('push-complete-400', [claiming(path, { cNarSize: path.nar.length + 8 })]);
    assertAsRecorded('push-complete-400', answers);
    const refusals = answers.filter((answer) => answer.status === 400);
    assert.equal(refusals.length, 4);
    for (const { text, headers } of refusals) {
      assert.equal(headers.get('content-type'), 'text/plain; charset=utf-8');
      assert.match(text, /^[ -~]+\n$/);
    }
    assert.deepEqual(await stagedFiles(server), []);
    assert.equal((await fetch(`${server.url}/${path.hashPart}.narinfo`)).status, 404);
  });
});

describe('what the official Cachix client 1.11.1 sent to other caches', () => {
  let server: TestServer;
  afterEach(() => server.remove());

  async function run(name: string, token: string, rest: { paths?: Pushable[]; signingKey?: string } = {}) {
    const { host, port } = new URL(server.url);
    return replay(scenario(name), { port: Number(port), host, token, ...rest });
  }

  it('use-private: says that the cache is private', async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `access: Private\n${standardSpec}`) });
    const [info] = await run('use-private', await server.token('read'));
    assertOk(info);
    const { isPublic, permission } = JSON.parse(info?.text ?? '') as { isPublic: boolean; permission: string };
    assert.deepEqual({ isPublic, permission }, { isPublic: false, permission: 'Read' });
  });

  it('push-401: hears why its token is refused', async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `access: Private\n${standardSpec}`) });
    const [answer] = await run('push-401', 'wrong');
    assert.equal(answer?.status, 401);
    assert.match(answer?.text ?? '', /^no such cache, or no access to it [ -~]+\n$/);
  });

  it('push-404: hears with a token of another cache what strangers hear', async () => {
    server = await TestServer.start({ manifest: cacheManifest('other', standardSpec) });
    const [answer] = await run('push-404', await server.token('push', 'other'));
    assert.equal(answer?.status, 401);
    assert.match(answer?.text ?? '', /^no such cache, or no access to it [ -~]+\n$/);
  });

  it('key-and-signed-push: publishes under the key of the client', async () => {
    const spec = `signing: {mode: SelfSigned}\n${standardSpec}`;
    server = await TestServer.start({ manifest: cacheManifest('main', spec) });
    const signingKey = generateSigningKey();
    const path = await pushableOf(SMALL, { name: 'q.txt' });
    const answers = await run('key-and-signed-push', await server.token('admin'), { paths: [path], signingKey });
    assertAsRecorded('key-and-signed-push', answers);
    assert.match(await assertServed(server, path), /\nSig: main\.localhost-1:[A-Za-z0-9+/]{86}==\n$/);
    assert.equal(await server.publicKey(), `main.localhost-1:${publicKeyOf(signingKey)}`);
  });
});

/** Every status as the client met it, and JSON where it reads JSON. */
function assertAsRecorded(name: string, answers: readonly Answer[]): void {
  const { requests } = scenario(name);
  const told = answers.map(({ line, status, text }) => `${line}: ${status}${status < 400 ? '' : ` ${text}`}`);
  assert.deepEqual(
    answers.map((answer) => answer.status),
    requests.map((request) => request.answered),
    told.join('\n'),
  );
  for (const [index, answer] of answers.entries()) {
    const kind = requests[index]?.headers ?? '';
    if (answer.status === 200 && ['get', 'query', 'create'].includes(kind)) assertOk(answer);
  }
}

function assertOk(answer: Answer | undefined): void {
  assert.equal(answer?.status, 200, answer?.text);
  assert.match(answer?.headers.get('content-type') ?? '', /^application\/json(; charset=utf-8)?$/);
}

/** The path is there with its bytes; the text of its narinfo. */
async function assertServed(server: TestServer, path: Pushable): Promise<string> {
  const narinfo = await (await fetch(`${server.url}/${path.hashPart}.narinfo`)).text();
  assert.ok(narinfo.startsWith(`StorePath: ${path.storePath}\n`), narinfo);
  const url = /^URL: (.*)$/m.exec(narinfo)?.[1];
  const nar = await fetch(`${server.url}/${url}`);
  assert.ok(Buffer.from(await nar.arrayBuffer()).equals(path.file), 'the NAR is the one that was pushed');
  assert.deepEqual(await stagedFiles(server), []);
  return narinfo;
}

/** The name that the recorded path has. */
function nameIn(name: string): string {
  return /"cStoreSuffix":"([^"]*)"/.exec(JSON.stringify(scenario(name)))?.[1] ?? '';
}

/** The name of the path whose hash a scenario mentions first. */
function hashesOf(name: string): string {
  const text = JSON.stringify(scenario(name));
  return /"cStoreHash":"\{hash:0\}","cStoreSuffix":"([^"]*)"/.exec(text)?.[1] ?? '';
}
