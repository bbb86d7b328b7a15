/** `npm run cluster:up` and `cluster:down` on this machine: what is there in between, and that nothing remains. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { Cluster } from '../../hack/cluster/cluster.ts';
import { Machine } from '../../hack/cluster/machine.ts';
import { until } from '../../hack/cluster/until.ts';
import { ensureNode } from '../../hack/components/node.mjs';
import { writeImage } from '../../hack/image/archive.mjs';
import { cacheDir, node24, root } from '../../hack/lib/places.mjs';
import { attempt } from '../../hack/lib/run.mjs';
import { describeWith } from '../support/needs.ts';
import { runToEnd } from '../support/run.ts';

const SETTINGS = [
  'kernel/panic',
  'kernel/panic_on_oops',
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'net/ipv4/ip_forward',
];

describeWith('cluster', 'a cluster on this machine', function () {
  this.bail(true);
  const folder = path.join(cacheDir(), 'cluster', `tool-${process.pid}`);
  const settings = () => SETTINGS.map((name) => fs.readFileSync(path.join('/proc/sys', name), 'utf8'));
  const before = settings();
  let cluster: Cluster;
  let block: number;

  const tool = (...words: string[]) =>
    runToEnd([node24, path.join(root, 'hack/cluster.mjs'), ...words], {
      env: { ...process.env, NARWHAL_CLUSTER: 'own', NARWHAL_CLUSTER_FOLDER: folder },
    });
  const kubectl = async (words: string[], input?: object) => {
    const { code, stdout, stderr } = await runToEnd([cluster.kubectl, '--kubeconfig', cluster.kubeconfig, ...words], {
      env: { HOME: folder },
      input: input && JSON.stringify(input),
    });
    assert.equal(code, 0, stderr);
    return stdout;
  };

  after(() => Cluster.down(folder));

  it('is ready when the command ends, and says how it is reached; what a killed one has left is no hindrance', async () => {
    await Machine.start(folder, await ensureNode());
    const { holder } = JSON.parse(fs.readFileSync(path.join(folder, 'machine.json'), 'utf8')) as { holder: number };
    process.kill(holder, 'SIGKILL');
    await until('its end', () => !fs.existsSync(`/proc/${holder}`), { mostMs: 60_000 });
    assert.equal(await Cluster.find(folder), undefined);
    const { code, stdout, stderr } = await tool('up');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /ready: export KUBECONFIG=\S+/);
    const found = await Cluster.find(folder);
    assert.ok(found);
    cluster = found;
    block = cluster.machine.network.block;
    assert.match(await kubectl(['get', 'nodes']), /node1 +Ready/);
  });

  it('is left as it is by a second up', async () => {
    const held = fs.readFileSync(path.join(folder, 'machine.json'), 'utf8');
    assert.equal((await tool('up')).code, 0);
    assert.equal(fs.readFileSync(path.join(folder, 'machine.json'), 'utf8'), held);
  });

  it('answers at the addresses of Services and resolves their names', async () => {
    const { api, dns } = cluster.machine.network;
    const resolver = new Resolver();
    resolver.setServers([dns]);
    assert.deepEqual(await resolver.resolve4('kubernetes.default.svc.cluster.local'), [api]);
    const status = await new Promise((resolve, reject) => {
      const ca = fs.readFileSync(path.join(folder, 'pki/ca.crt'));
      const request = https.get(`https://${api}/livez`, { ca, agent: false }, ({ statusCode }) => resolve(statusCode));
      request.on('error', reject);
    });
    assert.equal(status, 200);
  });

  it('runs a pod of a loaded image on a volume of its own size', async () => {
    const file = path.join(folder, 'waits.tar');
    const { pause } = await ensureNode();
    const layers = [{ entries: [{ from: pause, to: '/waits' }] }];
    const image = 'narwhal.test/waits:1';
    const config = { Entrypoint: ['/waits'], User: '65532' };
    const made = await writeImage({ file, reference: image, layers, config });
    await cluster.load(file, { reference: image, digest: made.digest });
    await kubectl(['apply', '-f', '-'], podWithVolume(image));
    await kubectl(['wait', '--for=condition=Ready', 'pod/waits', '--timeout=60s']);
    assert.ok(Math.abs((await sizeOfVolume()) - 64) < 16);
  });

  it('lets the volume grow while the pod runs', async () => {
    await kubectl(['patch', 'pvc/data', '--patch', JSON.stringify({ spec: storage('256Mi') })]);
    await kubectl(['wait', '--for=jsonpath={.status.capacity.storage}=256Mi', 'pvc/data', '--timeout=60s']);
    assert.ok((await sizeOfVolume()) > 200);
    assert.match(await kubectl(['get', 'pod/waits']), /Running +0/);
  });

  it('removes a volume with its claim', async () => {
    await kubectl(['delete', 'pod/waits', 'pvc/data', '--timeout=60s']);
    await until('the removal of the volume', () => fs.readdirSync(path.join(folder, 'volumes')).length === 0, {
      mostMs: 60_000,
    });
  });

  it('leaves nothing behind', async () => {
    assert.equal((await tool('down')).code, 0);
    assert.equal(fs.existsSync(folder), false);
    assert.deepEqual(await remains(folder, block), []);
    assert.deepEqual(settings(), before);
    assert.equal((await tool('down')).code, 0, 'a second down has nothing to do');
  });

  async function sizeOfVolume(): Promise<number> {
    const [volume = ''] = fs.readdirSync(path.join(folder, 'volumes')).filter((name) => !name.endsWith('.disk'));
    const output = await cluster.machine.run(['df', '-BM', '--output=size', path.join(folder, 'volumes', volume)]);
    return Number.parseInt(output.split('\n')[1] ?? '', 10);
  }
});

function podWithVolume(image: string): object {
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data' },
    spec: { accessModes: ['ReadWriteOnce'], ...storage('64Mi') },
  };
  const container = { name: 'waits', image, volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }];
  const spec = { containers: [container], volumes, terminationGracePeriodSeconds: 1 };
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'waits' }, spec };
  return { apiVersion: 'v1', kind: 'List', items: [claim, pod] };
}

function storage(size: string): object {
  return { resources: { requests: { storage: size } } };
}

/** What this machine has of a cluster: interfaces, routes, mounts, loop devices, cgroups, processes. */
async function remains(folder: string, block: number): Promise<string[]> {
  const { env } = await ensureNode();
  const output = async (program: string, ...args: string[]) =>
    (await attempt(program, args, { env })).output.split('\n');
  const lines = [
    ...(await output('ip', '-o', 'link')),
    ...(await output('ip', 'route', 'show', 'table', 'all')),
    ...(await output('losetup', '--list')),
    ...fs.readFileSync('/proc/mounts', 'utf8').split('\n'),
    ...foldersIn('/sys/fs/cgroup'),
    ...fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && name !== `${process.pid}`)
      .map((pid) => commandOf(pid)),
  ];
  const ours = new RegExp(`narwhal-?${block}\\b|\\b10\\.${block}\\.`);
  return lines.filter((line) => line.includes(folder) || ours.test(line));
}

/** All folders below one; those that go meanwhile are gone. */
function foldersIn(folder: string): string[] {
  let entries: fs.Dirent[] = [];
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    // It was removed, as other clusters are.
  }
  return entries
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => [path.join(folder, name), ...foldersIn(path.join(folder, name))]);
}

function commandOf(pid: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
