// From nothing to pushes and pulls: what a person gets who applies the example and uses what is then there.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { roundBytes } from '../../crds/index.ts';
import { CachixClient } from '../support/cachix-client.ts';
import { pushable } from '../support/cachix-paths.ts';
import { LivingCache, Watcher } from '../support/living-cache.ts';
import { describeWith } from '../support/needs.ts';
import { NixClient, nixLabelled } from '../support/nix.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const EXAMPLE = new URL('../../examples/laptop.yaml', import.meta.url);

describeWith(['kubernetes', 'nix'], 'the life of a cache: from nothing', () => {
  let folder: string;
  let cache: LivingCache;
  let nix: NixClient;
  let hosts: string[];

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-life-'));
    cache = await LivingCache.prepare(await sharedCluster());
    hosts = [`main.${cache.namespace}.svc`, `main.${cache.namespace}.svc.cluster.local`];
    const env = { http_proxy: cache.cluster.services.url };
    nix = new NixClient({ version: await nixLabelled('2.34'), dir: path.join(folder, 'pusher'), env });
  });
  after(async () => {
    await cache?.remove();
    await nix?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** The token's Secret as a pod finds it that mounts it. */
  async function mounted(): Promise<string> {
    const mount = path.join(folder, 'token');
    await mkdir(mount, { recursive: true });
    for (const [name, text] of Object.entries(await cache.secret('main-token-push')))
      await writeFile(path.join(mount, name), text, { mode: 0o600 });
    return mount;
  }

  it('is ready after one kubectl apply', async () => {
    const watcher = new Watcher(cache);
    await cache.cluster.apply(cache.namespace, await readFile(EXAMPLE, 'utf8'));
    await cache.until('Ready', 'True', 'Ready');
    await watcher.stop();
    assert.equal(watcher.pods.size, 1);
    assert.ok(watcher.ready.includes('False Progressing'), watcher.ready.join());
    for (const type of ['Available', 'KeysReady', 'StoragesReady'])
      assert.equal((await cache.condition(type))?.status, 'True', type);
    const secrets = await cache.kubectl('get', 'secrets', '-o', 'name');
    assert.deepEqual(secrets.trim().split('\n').sort(), [
      'secret/main-root-key',
      'secret/main-signing-key',
      'secret/main-token-push',
    ]);
  });

  it('gives pushers a Secret with files that nix takes as they are', async () => {
    const mount = await mounted();
    const netrc = await readFile(path.join(mount, 'netrc'), 'utf8');
    const token = await readFile(path.join(mount, 'token'), 'utf8');
    assert.equal(netrc, hosts.map((host) => `machine ${host} login narwhal password ${token}\n`).join(''));
    const storePath = await nix.addTree('pushed-1.0', { entries: { 'a-file': 'from a job\n' } });
    for (const host of hosts) {
      const params = { compression: 'zstd' };
      await nix.copyTo(`http://${host}/push`, [storePath], { params, netrc: path.join(mount, 'netrc') });
    }
    const reader = nix.fresh('reader');
    const env = { NIX_USER_CONF_FILES: path.join(mount, 'nix.conf') };
    await reader.must(['nix-store', '-r', storePath], { env });
    assert.deepEqual(await reader.dump(storePath), await nix.dump(storePath));
    await reader.remove();
  });

  it('gives them what Cachix needs', async () => {
    const script = await readFile(path.join(await mounted(), 'cachix.sh'), 'utf8');
    const [, host = ''] = /^cachix config set hostname (\S+)$/m.exec(script) ?? [];
    const [, token = ''] = /^export CACHIX_AUTH_TOKEN=(\S+)$/m.exec(script) ?? [];
    assert.equal(host, `http://${hosts[0]}`);
    assert.match(script, /^cachix use main$/m);
    const proxy = cache.cluster.services.url;
    const client = new CachixClient({ host, cache: 'main', token, proxy });
    const paths = [await pushable(), await pushable({ compression: 'xz' })];
    assert.deepEqual((await client.push(paths)).length, 2);
    assert.deepEqual(await client.missing(paths.map((it) => it.hashPart)), []);
    const { uri, isPublic, publicSigningKeys } = await client.info();
    assert.deepEqual([uri, isPublic], [`http://${hosts[0]}`, true]);
    assert.deepEqual(publicSigningKeys, (await cache.object()).status?.publicKeys);
    client.close();
    // Of these nix believes the signature and nothing else; the file makes it trust the cache's key.
    const reader = nix.fresh('another-reader');
    const env = { NIX_USER_CONF_FILES: path.join(await mounted(), 'nix.conf') };
    const realise = ['nix-store', '-r', paths[0]?.storePath ?? ''] as const;
    const distrustful = await reader.run([...realise, '--option', 'trusted-public-keys', ''], { env });
    assert.notEqual(distrustful.code, 0);
    await reader.must(realise, { env });
    await reader.remove();
  });

  it('is told apart at a glance by kubectl get, in full by kubectl describe', async () => {
    const [header = '', line = ''] = (await cache.kubectl('get', 'nix')).split('\n');
    assert.deepEqual(header.split(/\s+/), ['NAME', 'READY', 'REASON', 'REPLICAS', 'URL', 'AGE']);
    const [name, ready, reason, replicas, url] = line.split(/\s+/);
    assert.match(name ?? '', /^binarycache\S*\/main$|^main$/);
    assert.deepEqual([ready, reason, replicas, url], ['True', 'Ready', '1', `http://${hosts[0]}`]);
    // Events are written in the background.
    await until('the event of the last state is there', async () =>
      /Normal\s+Ready\s.*everything that the manifest asks for/.test(await cache.kubectl('describe', 'bc', 'main')),
    );
    const text = await cache.kubectl('describe', 'bc', 'main');
    for (const secret of ['main-root-key', 'main-signing-key', 'main-token-push'])
      assert.match(text, new RegExp(`Normal\\s+Created\\s.*Secret ${secret}:`));
    assert.match(text, /Normal\s+Progressing\s/);
    assert.doesNotMatch(text, /Warning/);
    assert.ok(!text.includes(await cache.token()));
  });

  it('reports what is stored', async () => {
    const [report] = (await cache.server()).caches[0]?.storages ?? [];
    assert.ok(report !== undefined && report.usedBytes > 0);
    const used = roundBytes(report.usedBytes);
    await until('all bytes are counted', async () => (await cache.storage('disk'))?.used === used);
    const { phase, capacity } = (await cache.storage('disk')) ?? {};
    assert.deepEqual([phase, capacity], ['Ready', roundBytes(report.capacityBytes ?? 0)]);
    const { status } = await cache.object();
    assert.deepEqual([status?.replicas, status?.readyReplicas, status?.image], [1, 1, 'narwhal:test']);
    const pods = await cache.kubectl('get', 'pods', '-o', 'name', '-l', status?.selector ?? 'none');
    assert.equal(pods.trim(), 'pod/main-0');
  });
});
