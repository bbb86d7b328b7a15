import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { assertServed } from '../support/cachix-calls.ts';
import { CachixClient } from '../support/cachix-client.ts';
import { CachixFailure } from '../support/cachix-http.ts';
import { pushable, randomHashPart } from '../support/cachix-paths.ts';
import { stagedFiles } from '../support/disk.ts';
import { type Fault, FaultProxy, inTurn } from '../support/fault-proxy.ts';
import { TestServer } from '../support/server.ts';

describe('our Cachix client', () => {
  let proxy: FaultProxy;
  let server: TestServer;
  let folder: string;
  let client: CachixClient;
  let delays: number[];

  before(async () => {
    proxy = await FaultProxy.start();
    server = await TestServer.start({ args: ['--api-url', proxy.url] });
    proxy.target = server.url;
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-client-'));
  });
  after(async () => {
    await server.remove();
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    proxy.fate = () => undefined;
    proxy.seen.length = 0;
    delays = [];
    client = await makeClient();
  });
  afterEach(() => client.close());

  async function makeClient(init: { token?: string; chunkSize?: number } = {}): Promise<CachixClient> {
    return new CachixClient({
      host: proxy.url,
      cache: 'main',
      token: await server.token(),
      delay: async (ms) => {
        delays.push(ms);
      },
      ...init,
    });
  }

  const count = (part: string) => proxy.seen.filter(({ url }) => url.includes(part)).length;
  const completions = ({ url }: { url: string }) => url.includes('/complete');

  it('pushes many paths at one time, and nothing the second time', async () => {
    const paths = await Promise.all(Array.from({ length: 40 }, () => pushable()));
    assert.equal((await client.push(paths)).length, 40);
    for (const pushed of paths) await assertServed(server, pushed);
    assert.deepEqual(await client.push(paths), []);
    assert.deepEqual(delays, []);
    assert.deepEqual(await stagedFiles(server), []);
  });

  it('reads a file part by part, with an empty one at the end of a whole number of parts', async () => {
    const chunkSize = 1_100_000;
    const pushed = await pushable({ contents: randomBytes(2_500_000) });
    const file = path.join(folder, 'nar');
    await writeFile(file, pushed.file);
    const inParts = await makeClient({ chunkSize });
    await inParts.push([{ ...pushed, file }]);
    assert.equal(count('/part/'), 3);
    await assertServed(server, pushed);
    const other = await pushable();
    proxy.seen.length = 0;
    const exact = await makeClient({ chunkSize: other.file.length });
    await exact.push([other]);
    assert.equal(count('/part/'), 2);
    await assertServed(server, other);
    inParts.close();
    exact.close();
  });

  it('asks for 40 000 hashes in two queries', async () => {
    const hashes = Array.from({ length: 40_000 }, randomHashPart);
    assert.deepEqual(await client.missing(hashes), hashes);
    assert.equal(count('/narinfo'), 2);
  });

  it('sees whether a path is there', async () => {
    const pushed = await pushable();
    assert.equal(await client.head(pushed.hashPart), false);
    await client.push([pushed]);
    assert.equal(await client.head(pushed.hashPart), true);
  });

  it('waits as long as it is told to', async () => {
    proxy.fate = inTurn(
      ({ url }) => url.endsWith('/narinfo'),
      [
        { status: 429, headers: { 'Retry-After': '7' }, forward: false },
        {
          status: 503,
          headers: { 'Content-Type': 'application/json' },
          body: '{"retry_after": 500}',
          forward: false,
        },
      ],
    );
    await client.missing([randomHashPart()]).catch(() => {});
    assert.deepEqual(delays.slice(0, 1), [7000]);
  });

  it('gives up a call after 90 seconds of waiting', async () => {
    proxy.fate = () => ({ status: 503, forward: false });
    await assert.rejects(client.info(), (error) => error instanceof CachixFailure && error.status === 503);
    const waitedMs = delays.reduce((sum, ms) => sum + ms, 0);
    assert.ok(waitedMs <= 90_000 && waitedMs > 60_000, String(waitedMs));
  });

  for (const status of [500, 503, 429, 'drop'] as const) {
    for (const route of ['/multipart-nar?', 'partNumber=', '/part/', '/complete']) {
      it(`gets a path in when ${route} answers ${status} after the server has acted`, async () => {
        const pushed = await pushable();
        const fault: Fault = { status, forward: true };
        proxy.fate = inTurn(({ url }) => url.includes(route), [fault, fault]);
        await client.push([pushed]);
        await assertServed(server, pushed);
        assert.equal(count('/complete'), route === '/complete' ? 3 : 1);
      });
    }
  }

  it('begins a path anew, three times, when its completion is refused', async () => {
    const pushed = await pushable();
    const wrong = { ...pushed, claim: { ...pushed.claim, cNarHash: `sha256:${'0'.repeat(52)}` } };
    await assert.rejects(client.push([wrong]), /400 cNarHash says/);
    assert.deepEqual(delays, [5000, 5000, 5000]);
    assert.equal(count('/multipart-nar?'), 4);
    assert.equal(count('/abort'), 0);
    assert.deepEqual(await stagedFiles(server), []);
  });

  it('succeeds at the second whole attempt', async () => {
    const pushed = await pushable();
    proxy.fate = inTurn(completions, [{ status: 400, forward: false }]);
    await client.push([pushed]);
    await assertServed(server, pushed);
    assert.equal(count('/multipart-nar?'), 2);
  });

  it('shows why its token is refused, at the first call', async () => {
    const stranger = await makeClient({ token: 'wrong' });
    await assert.rejects(stranger.push([await pushable()]), /401 cache main: /);
    assert.equal(count('/multipart-nar?'), 4);
    stranger.close();
  });

  for (const status of [201, 202, 204]) {
    it(`takes ${status} for a failure`, async () => {
      const pushed = await pushable();
      proxy.fate = inTurn(
        completions,
        Array.from({ length: 4 }, () => ({ status, body: '', forward: false })),
      );
      await assert.rejects(client.upload(pushed), new RegExp(String(status)));
    });
  }

  it('takes JSON by another name for a failure', async () => {
    proxy.fate = () => ({ status: 200, headers: { 'Content-Type': 'text/json' }, body: '[]', forward: false });
    await assert.rejects(client.missing([randomHashPart()]), /unsupported content type: text\/json/);
  });
});
