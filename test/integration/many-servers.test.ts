import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Fleet } from '../support/fleet.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import {
  completeUpload,
  createUpload,
  isServed,
  type OpenUpload,
  pushByCachix,
  pushByPut,
  Refusal,
  sendPart,
} from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Secret } from '../support/s3-cache.ts';
import type { TestServer } from '../support/server.ts';
import { until } from '../support/server.ts';

const MIB = 2 ** 20;
const BUCKET = 'narwhal';
const FAST = ['--storage-retry', '0.2', '--housekeeping-interval', '0.2', '--transient-retry', '5'];

describeWith('postgres', 'several servers of one cache', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let shared: string;
  let fleet: Fleet;
  let prefixes = 0;

  before(async () => {
    [postgres, s3] = await Promise.all([PostgresServer.start(), S3Server.start()]);
    await s3.createBucket(BUCKET);
  });
  after(async () => {
    await postgres.remove();
    await s3.remove();
  });
  beforeEach(async () => {
    shared = await mkdtemp(path.join(os.tmpdir(), 'narwhal-shared-'));
  });
  afterEach(async () => {
    await fleet?.remove();
    await rm(shared, { recursive: true, force: true });
  });

  const kinds: Readonly<Record<string, () => object>> = {
    'in S3, with direct uploads': () => s3Fields({ uploads: 'Direct' }),
    'in S3, with uploads through the servers': () => s3Fields({ uploads: 'Proxy' }),
    'in a folder that all mount': () => ({ name: 'disk', local: { path: path.join(shared, 'disk') } }),
  };
  const s3Fields = (more: object) => ({
    name: 'bucket',
    s3: {
      bucket: BUCKET,
      endpoint: s3.endpoint,
      prefix: `p${prefixes++}`,
      forcePathStyle: true,
      credentialsSecretRef: { name: 's3' },
      ...more,
    },
  });

  async function start(storage: object, servers = 3): Promise<Fleet> {
    fleet = await Fleet.start({
      url: await postgres.createDatabase(),
      storages: [storage],
      more: s3Secret(s3),
      servers,
      args: FAST,
    });
    return fleet;
  }
  const on = (server: TestServer, upload: OpenUpload): OpenUpload => ({
    ...upload,
    server,
    url: upload.url.replace(/^http:\/\/[^/]+/, server.url),
  });

  for (const [kind, storage] of Object.entries(kinds)) {
    describe(`whose storage is ${kind}`, () => {
      it('begin an upload on one, take its parts on others, and complete it on a third', async () => {
        await start(storage());
        const it = makePath({ contents: randomBytes(13 * MIB) });
        const upload = await createUpload(fleet.at(0));
        const cut = [0, 6 * MIB, 12 * MIB, it.file.length];
        const etags = await Promise.all(
          [0, 1, 2].map((part) =>
            sendPart(on(fleet.at(part), upload), part + 1, it.file.subarray(cut[part], cut[part + 1])),
          ),
        );
        await completeUpload(on(fleet.at(2), upload), it, etags);
        for (const server of fleet.servers) assert.ok(await isServed(server, it));
        // Asked again, anywhere: the same answer.
        await completeUpload(on(fleet.at(1), upload), it, etags);
      });

      it('complete an upload once, whoever is asked and how often', async () => {
        await start(storage());
        const it = makePath({ contents: randomBytes(8 * MIB) });
        const upload = await createUpload(fleet.at(0));
        const etags = [await sendPart(upload, 1, it.file)];
        await Promise.all([0, 1, 2, 0].map((server) => completeUpload(on(fleet.at(server), upload), it, etags)));
        for (const server of fleet.servers) assert.ok(await isServed(server, it));
        const published = fleet.servers.map((server) => server.output.split('"msg":"published"').length - 1);
        assert.equal(
          published.reduce((sum, count) => sum + count),
          1,
        );
      });

      it('give the same answer to an upload that is wrong', async () => {
        await start(storage());
        const [it, other] = [makePath({ contents: randomBytes(3 * MIB) }), makePath()];
        const upload = await createUpload(fleet.at(0));
        const etags = [await sendPart(upload, 1, other.file)];
        const answers = await Promise.all(
          [0, 1, 2].map((server) =>
            completeUpload(on(fleet.at(server), upload), it, etags).catch((error: unknown) => error),
          ),
        );
        for (const answer of answers) {
          assert.ok(answer instanceof Refusal, String(answer));
          assert.equal(answer.status, 400);
          assert.match(answer.text, /cFileSize says/);
        }
        assert.ok(!(await isServed(fleet.at(1), it)));
      });

      it('serve at once what another has published, though they had just been asked for it', async () => {
        await start(storage(), 2);
        for (const push of [pushByPut, pushByCachix]) {
          const it = makePath();
          assert.ok(!(await isServed(fleet.at(1), it)));
          await push(fleet.at(0), it);
          await until('the other server serves it', () => isServed(fleet.at(1), it), 5000);
        }
      });
    });
  }

  it('leave each other in peace when they start, and remove what nobody goes on with', async () => {
    await start(kinds['in a folder that all mount']?.() ?? {}, 2);
    const it = makePath({ contents: randomBytes(MIB) });
    const upload = await createUpload(fleet.at(0));
    const etags = [await sendPart(upload, 1, it.file)];
    const lost = await createUpload(fleet.at(0));
    await sendPart(lost, 1, makePath().file);
    await fleet.at(1).stop('SIGKILL');
    await fleet.at(1).restart();
    await completeUpload(on(fleet.at(1), upload), it, etags);
    assert.ok(await isServed(fleet.at(0), it));
    const staging = path.join(shared, 'disk', '.staging');
    await until('only the lost upload is left', async () => (await readdir(staging)).length === 1);
    const database = new URL(fleet.cache.url).pathname.slice(1);
    await postgres.query('UPDATE main.uploads SET expires_at = 1', { database });
    await until('the lost upload is gone', async () => (await readdir(staging)).length === 0);
  });

  it('lose no acknowledged path when they are killed while they complete', async () => {
    await start(kinds['in S3, with direct uploads']?.() ?? {});
    const acknowledged: TestPath[] = [];
    for (let round = 0; round < 4; round++) {
      const victim = fleet.at(round);
      const it = makePath({ contents: randomBytes(12 * MIB) });
      const upload = await createUpload(victim);
      const etags = [await sendPart(upload, 1, it.file)];
      const completing = completeUpload(upload, it, etags).then(
        () => acknowledged.push(it),
        () => {},
      );
      await victim.stop('SIGKILL');
      await completing;
      // The client comes again, to another server, which takes over once the dead one's lease has ended.
      await completeUpload(on(fleet.at(round + 1), upload), it, etags);
      acknowledged.push(it);
      await victim.restart();
    }
    for (const it of acknowledged) for (const server of fleet.servers) assert.ok(await isServed(server, it));
  });
});
