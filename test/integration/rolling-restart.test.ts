// Three servers of one cache under load, restarted one after the other, then killed one after the other.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { formatHash, sha256 } from '../../server/nix/index.ts';
import { CachixClient } from '../support/cachix-client.ts';
import { type Pushable, pushable } from '../support/cachix-paths.ts';
import { Fleet } from '../support/fleet.ts';
import { describeWith } from '../support/needs.ts';
import { NixClient, nixLabelled } from '../support/nix.ts';
import { makeClosure } from '../support/nix-closure.ts';
import { PostgresServer } from '../support/postgres.ts';
import { S3Server } from '../support/s3.ts';
import { s3Secret } from '../support/s3-cache.ts';
import { until } from '../support/server.ts';

const BUCKET = 'narwhal';
/** nix asks five times for a file before it gives up. */
const TRIES = 5;

describeWith('postgres', 'three servers under load', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let fleet: Fleet;
  let folder: string;
  let stopped: boolean;
  const acknowledged: Pushable[] = [];
  const failures: string[] = [];
  let downloads = 0;

  before(async () => {
    [postgres, s3] = await Promise.all([PostgresServer.start(), S3Server.start()]);
    await s3.createBucket(BUCKET);
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-rolling-'));
  });
  after(async () => {
    await fleet?.remove();
    await postgres.remove();
    await s3.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** Cachix clients that push without a pause. */
  async function push(): Promise<void> {
    const client = new CachixClient({
      host: fleet.proxy.url,
      cache: 'main',
      token: fleet.cache.tokens.push ?? '',
      delay: (ms) => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 200))),
    });
    while (!stopped) {
      const paths = await Promise.all([pushable({ contents: randomBytes(3000) }), pushable()]);
      await client.push(paths);
      acknowledged.push(...paths);
    }
    client.close();
  }

  /** Readers that ask for any acknowledged path and compare every byte. */
  async function pull(): Promise<void> {
    while (!stopped) {
      const it = acknowledged[Math.floor(Math.random() * acknowledged.length)];
      if (it === undefined) await new Promise(setImmediate);
      else await pullOne(it);
    }
  }

  async function pullOne(it: Pushable): Promise<void> {
    const base = `${fleet.proxy.url}/api/v1/cache/main`;
    const seen: string[] = [];
    for (let attempt = 0; attempt < TRIES; attempt++) {
      try {
        const narinfo = await fetch(`${base}/${it.claim.cStoreHash}.narinfo`);
        const text = await narinfo.text();
        // A 404 is an answer, which no client asks for again.
        if (narinfo.status === 404) break;
        const nar = await fetch(`${base}/${/^URL: (.*)$/m.exec(text)?.[1]}`);
        const bytes = Buffer.from(await nar.arrayBuffer());
        if (narinfo.status === 200 && nar.status === 200) {
          assert.equal(formatHash(sha256(bytes)), /^FileHash: (.*)$/m.exec(text)?.[1]);
          downloads++;
          return;
        }
        seen.push(`${narinfo.status} ${nar.status}`);
      } catch (error) {
        seen.push(String(error));
      }
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** attempt));
    }
    failures.push(`${it.claim.cStoreHash}: ${seen.join(', ') || '404'}`);
  }

  it('lose no request to a rolling restart, and no path to kills', async () => {
    fleet = await Fleet.start({
      url: await postgres.createDatabase(),
      storages: [
        {
          name: 'bucket',
          s3: { bucket: BUCKET, endpoint: s3.endpoint, forcePathStyle: true, credentialsSecretRef: { name: 's3' } },
        },
      ],
      more: s3Secret(s3),
      args: ['--log-level', 'info', '--housekeeping-interval', '0.5'],
    });
    const nix = new NixClient({ version: await nixLabelled('2.34'), dir: path.join(folder, 'client') });
    const closure = await makeClosure(nix, { texts: 30 });
    const netrc = path.join(folder, 'netrc');
    await writeFile(netrc, `machine main.localhost login x password ${fleet.cache.tokens.push}\n`, { mode: 0o600 });
    const substituter = fleet.proxy.url.replace('//localhost', '//main.localhost');
    const copy = async (paths: readonly string[]) =>
      nix.copyTo(`${substituter}/push`, paths, { params: { compression: 'zstd' }, netrc });
    const key = await fleet.at(0).publicKey();

    stopped = false;
    const load = [push(), push(), pull(), pull(), pull()];
    await until('there is load', () => downloads > 20);
    const third = Math.ceil(closure.all.length / 3);
    for (const [index, server] of fleet.servers.entries()) {
      const copying = copy(closure.all.slice(index * third, (index + 1) * third));
      assert.equal(await server.stop(), 0);
      await server.restart();
      fleet.follow();
      await copying;
      const at = downloads;
      await until('the load goes on', () => downloads > at + 20);
    }
    assert.deepEqual(failures, []);
    const reader = nix.fresh('reader');
    const pulled = await reader.realise(closure.all, { substituters: [substituter], trustedKeys: [key] });
    assert.equal(pulled.code, 0, pulled.stderr);
    await reader.verify({ trustedKeys: [key] });

    for (const server of fleet.servers) {
      assert.equal(await server.stop('SIGKILL'), null);
      const at = downloads;
      await until('the load goes on with two', () => downloads > at + 20);
      await server.restart();
      fleet.follow();
    }
    stopped = true;
    await Promise.all(load);
    assert.deepEqual(failures, []);
    assert.ok(acknowledged.length > 50, `${acknowledged.length} paths were pushed`);
    for (const it of acknowledged) await pullOne(it);
    assert.deepEqual(failures, []);
    await reader.remove();
    await nix.remove();
  }).timeout(240_000);
});
