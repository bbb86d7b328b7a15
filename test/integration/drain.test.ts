import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByCachix, pushByPut } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';
import { Poller, storageOf } from '../support/storages.ts';

const TOKENS = 'tokens:\n  - {name: push, permissions: [Write]}\n';

describe('a storage that is drained', () => {
  let folder: string;
  let server: TestServer | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-drain-'));
  });
  afterEach(async () => {
    await server?.remove();
    server = undefined;
    await rm(folder, { recursive: true, force: true });
  });
  const disk = (name: string) => path.join(folder, name);
  function manifest(storages: Readonly<Record<string, string>>, spec = ''): string {
    const lines = Object.entries(storages).map(
      ([name, more]) => `  - {name: ${name}, local: {path: ${disk(name)}}${more}}\n`,
    );
    return cacheManifest('main', `${spec}storages:\n${lines.join('')}${TOKENS}`);
  }
  async function start(text: string, args: readonly string[] = []): Promise<TestServer> {
    server = await TestServer.start({
      manifest: text,
      args: [
        ...['--storage-retry', '0.05', '--transient-retry', '0.2', '--housekeeping-interval', '0.1'],
        '--move-grace',
        '0.2',
        ...args,
      ],
    });
    return server;
  }
  const objectsIn = async (name: string) =>
    (await readdir(path.join(disk(name), 'objects'), { recursive: true })).filter((it) => it.includes('/')).length;

  it('moves everything while it is read, and can be removed', async () => {
    const it1 = await start(manifest({ first: '' }));
    const paths: TestPath[] = [];
    for (let push = 0; push < 10; push++) {
      const it = makePath({ contents: randomBytes(push * 100_000) });
      await (push % 2 ? pushByPut : pushByCachix)(it1, it);
      paths.push(it);
    }
    const poller = Poller.start(it1, paths);
    await it1.writeManifest(manifest({ first: ', mode: Drain', second: '' }));
    await until('drained', async () => (await storageOf(it1, 'first'))?.phase === 'Drained').catch(async (e) => {
      console.log(await storageOf(it1, 'first'), it1.output.slice(-3000));
      throw e;
    });
    await poller.stop();
    assert.equal(await objectsIn('first'), 0);
    assert.equal(await objectsIn('second'), 10);
  });
});
