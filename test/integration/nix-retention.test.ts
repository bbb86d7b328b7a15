/**
 * Real nix that takes a closure again and again while collections take it away again and again: it gets the whole of it or
 * is told at once that it is not here, and never misses a NAR whose narinfo it was given.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { defaultSettings } from '../../server/cache/settings.ts';
import type { Running } from '../../server/serve.ts';
import { startInProcess } from '../support/in-process.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { makeClosure } from '../support/nix-closure.ts';
import { cacheManifest, standardSpec, until } from '../support/server.ts';

const ROUNDS = process.env.NARWHAL_LONG === '1' ? 20 : 2;
const PATHS = 100;

await describeEachNix('a closure that is fetched while it is collected', (nix) => {
  let dir: string;
  let running: Running;
  let api: string;
  let netrc: string;
  const clients: NixClient[] = [];

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-nix-retention-'));
    const file = path.join(dir, 'caches.yaml');
    await fs.writeFile(file, cacheManifest('main', standardSpec));
    const data = path.join(dir, 'data');
    const retention = { ...defaultSettings.retention, maxBytes: 1, minAgeMs: 0, graceMs: 3600_000 };
    // A nix that has a root's narinfo has fetched the closure in less.
    running = await startInProcess({ files: [file], data, settings: { rootsFirstMs: 20_000, retention } });
    api = `http://${running.addresses[0]}/api/v1/cache/main`;
    netrc = path.join(dir, 'netrc');
    const token = (await fs.readFile(path.join(data, 'main', 'tokens', 'push'), 'utf8')).trim();
    await fs.writeFile(netrc, `machine 127.0.0.1 login anybody password ${token}\n`, { mode: 0o600 });
  });
  after(async () => {
    await running?.stop();
    for (const client of clients) await client.remove();
    await fs.rm(dir, { recursive: true, force: true });
  });

  function newClient(name: string): NixClient {
    const client = new NixClient({ version: nix, dir: path.join(dir, name) });
    clients.push(client);
    return client;
  }
  const missedNars = async () => {
    const text = await (await fetch(`http://${running.adminAddress}/metrics`)).text();
    return Number(/^narwhal_\w+\{route="nar",status="404"\} (\d+)$/m.exec(text)?.[1] ?? 0);
  };

  it('is whole or not there', async () => {
    const cache = running.caches.get('main');
    assert.ok(cache);
    const pusher = newClient('pusher');
    const { top } = await makeClosure(pusher, { texts: PATHS, seed: nix.label });
    const closure = await pusher.closureOf([top]);
    assert.ok(closure.length >= PATHS / 2, String(closure.length));
    const settings = { 'narinfo-cache-positive-ttl': '0', 'narinfo-cache-negative-ttl': '0' };
    const push = () => pusher.copyTo(`${api}/push`, [top], { netrc, settings });
    const trustedKeys = cache.keys.publicKeys();
    const pull = (client: NixClient, more: Readonly<Record<string, string>> = {}) =>
      client.realise([top], { substituters: [api], trustedKeys, settings: more });
    const served = async () => (await cache.paths.find(path.basename(top).slice(0, 32))) !== undefined;
    await push();
    const keeper = newClient('keeper');
    assert.equal((await pull(keeper)).code, 0);
    const missed = await missedNars();
    const stop = new AbortController();
    const collecting = (async () => {
      while (!stop.signal.aborted) await cache.retention.collect(true, stop.signal).catch((error: unknown) => error);
    })();
    let whole = 0;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await until('the root has gone', async () => !(await served()));
        // It remembers the narinfos, and their NARs are here for the grace.
        await keeper.must(['nix-collect-garbage']);
        const kept = await pull(keeper);
        assert.equal(kept.code, 0, kept.stderr);
        await push();
        const fresh = newClient(`fresh-${round}`);
        const { code, stderr } = await pull(fresh);
        if (code === 0) {
          whole++;
          await fresh.verify({ trustedKeys });
        } else assert.doesNotMatch(stderr, /copying path/, 'half a closure was fetched');
        await fresh.remove();
      }
    } finally {
      stop.abort();
      await collecting;
    }
    assert.equal(await missedNars(), missed);
    assert.ok(whole > 0, 'it was there sometimes');
  }).timeout(600_000);
});
