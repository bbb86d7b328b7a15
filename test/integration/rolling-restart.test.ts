// Three servers of one cache under load, restarted one after the other, then killed one after the other.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Fleet } from '../support/fleet.ts';
import { Load } from '../support/load.ts';
import { describeWith } from '../support/needs.ts';
import { NixClient, nixLabelled } from '../support/nix.ts';
import { makeClosure } from '../support/nix-closure.ts';
import { PostgresServer } from '../support/postgres.ts';
import { S3Server } from '../support/s3.ts';
import { s3Secret } from '../support/s3-cache.ts';

const BUCKET = 'narwhal';

describeWith('postgres', 'three servers under load', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let fleet: Fleet;
  let folder: string;

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

    const { url } = fleet.proxy;
    const load = await Load.start({
      push: { host: url, token: fleet.cache.tokens.push ?? '' },
      pull: `${url}/api/v1/cache/main`,
    });
    const third = Math.ceil(closure.all.length / 3);
    for (const [index, server] of fleet.servers.entries()) {
      const copying = copy(closure.all.slice(index * third, (index + 1) * third));
      assert.equal(await server.stop(), 0);
      await server.restart();
      fleet.follow();
      await copying;
      await load.goesOn();
    }
    load.assertNoFailure();
    const reader = nix.fresh('reader');
    const pulled = await reader.realise(closure.all, { substituters: [substituter], trustedKeys: [key] });
    assert.equal(pulled.code, 0, pulled.stderr);
    await reader.verify({ trustedKeys: [key] });

    for (const server of fleet.servers) {
      assert.equal(await server.stop('SIGKILL'), null);
      await load.goesOn();
      await server.restart();
      fleet.follow();
    }
    await load.stop();
    assert.ok(load.acknowledged.length > 50, `${load.acknowledged.length} paths were pushed`);
    await load.assertNothingLost();
    await reader.remove();
    await nix.remove();
  });
});
