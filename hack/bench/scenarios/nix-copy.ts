/**
 * `nix copy` of a closure of small paths, to a cache and from one. Nix sends a path only after those that it refers to, so
 * that what counts is how long one path takes, and what it costs the server.
 */
import path from 'node:path';
import type { NixClient } from '../../../test/support/nix.ts';
import type { Bench, Sample } from '../bench.ts';
import { makeBenchPath } from '../data.ts';
import { makeChain, NixClients } from '../nix-chain.ts';
import { cpuSeconds, type Narwhal, type Served, startNarwhal, startNginx } from '../processes.ts';
import { pushByPut, timed } from '../push.ts';
import { atMost, number, type Row } from '../report.ts';

const WANTED_CPU_MS = 2;
/** Paths that a server has served before it counts as warm. */
const WARM_PATHS = 2000;

interface Chain {
  readonly client: NixClient;
  readonly top: string;
  readonly count: number;
}

/** Nix into an empty cache of a new process, and into one that has taken in 2000 paths; beside it, into a folder. */
export async function nixCopyTo(bench: Bench): Promise<Row[]> {
  return withNix(bench, async (clients, fresh) => {
    const warm: Chain = { ...fresh, top: await makeChain(fresh.client, fresh.count, 'warm') };
    const others = Array.from({ length: bench.quick ? 50 : WARM_PATHS }, (_, index) =>
      makeBenchPath({ index: 10_000 + index, size: 20_000 }),
    );
    const push = async (narwhal: Narwhal, { client, top, count }: Chain) => {
      const params = { compression: 'zstd' };
      const netrc = clients.netrc(narwhal.token);
      return measured(narwhal, count, () => client.copyTo(`${narwhal.url}/push`, [top], { params, netrc }));
    };
    const seen = await bench.compare({
      narwhal: async () => {
        const folder = bench.newFolder('nix-copy-to');
        const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
        const first = await push(narwhal, fresh);
        await pushByPut(narwhal, others);
        const second = await push(narwhal, warm);
        await bench.end(narwhal);
        bench.remove(folder);
        return { ...first, warmSeconds: second.seconds, warmCpuMs: second.cpuMs };
      },
      folder: () => copyToFolder(bench, fresh),
    });
    return rows('nix-copy-to', seen.narwhal, { name: 'nix to file://', sample: seen.folder });
  });
}

async function copyToFolder(bench: Bench, { client, top }: Chain): Promise<Sample> {
  const folder = bench.newFolder('nix-copy-file');
  const seconds = await timed(() => client.copyTo(`file://${folder}`, [top], { params: { compression: 'zstd' } }));
  bench.remove(folder);
  return { seconds };
}

/** The same closure out of a cache, by a client that has nothing; beside it, out of nginx with the same files. */
export async function nixCopyFrom(bench: Bench): Promise<Row[]> {
  return withNix(bench, async (clients, chain) => {
    const { client, top, count } = chain;
    const files = bench.newFolder('nix-copy-files');
    await client.copyTo(`file://${files}`, [top], { params: { compression: 'zstd' } });
    const nginx = await bench.serving(startNginx(files, bench.newFolder('nginx')));
    const folder = bench.newFolder('nix-copy-from');
    const filling = await bench.serving(startNarwhal(folder));
    const to = { params: { compression: 'zstd' }, netrc: clients.netrc(filling.token) };
    await client.copyTo(`${filling.url}/push`, [top], to);
    await bench.end(filling);
    const names = (await client.closureOf([top])).map((it) => path.basename(it).slice(0, 32));
    const pull = async (served: Served) => {
      const empty = await clients.client();
      const sample = await measured(served, count, () => empty.copyFrom(served.url, [top], { checkSigs: false }));
      await empty.remove();
      return sample;
    };
    const seen = await bench.compare({
      narwhal: async () => {
        const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
        const first = await pull(narwhal);
        for (let served = count; served < WARM_PATHS && !bench.quick; served += count) await readAll(narwhal, names);
        const second = await pull(narwhal);
        await bench.end(narwhal);
        return { ...first, warmSeconds: second.seconds, warmCpuMs: second.cpuMs };
      },
      nginx: () => pull(nginx),
    });
    await bench.end(nginx);
    for (const it of [files, folder]) bench.remove(it);
    return rows('nix-copy-from', seen.narwhal, { name: 'nginx', sample: seen.nginx });
  });
}

async function readAll({ url }: Narwhal, hashParts: readonly string[]): Promise<void> {
  for (const hashPart of hashParts) {
    const narinfo = await (await fetch(`${url}/${hashPart}.narinfo`)).text();
    await (await fetch(`${url}/${/^URL: (.*)$/m.exec(narinfo)?.[1]}`)).arrayBuffer();
  }
}

async function withNix(bench: Bench, work: (clients: NixClients, chain: Chain) => Promise<Row[]>): Promise<Row[]> {
  const clients = new NixClients();
  try {
    const client = await clients.client();
    const count = bench.quick ? 50 : 500;
    return await work(clients, { client, count, top: await makeChain(client, count, 'fresh') });
  } finally {
    clients.remove();
  }
}

async function measured(
  served: Served,
  count: number,
  work: () => Promise<unknown>,
): Promise<{ seconds: number; cpuMs: number }> {
  const before = cpuSeconds(served.pid);
  const seconds = await timed(work);
  return { seconds, cpuMs: ((cpuSeconds(served.pid) - before) / count) * 1000 };
}

function rows(what: string, ours: Sample, baseline: { name: string; sample: Sample }): Row[] {
  const { name, sample } = baseline;
  const cases = [
    ['fresh', ours.seconds, ours.cpuMs],
    ['warm', ours.warmSeconds, ours.warmCpuMs],
  ] as const;
  return cases.flatMap(([state, seconds = Number.NaN, cpuMs = Number.NaN]): Row[] => {
    const beside = sample.seconds ?? Number.NaN;
    const row = { what: `${what}, ${state}, s`, ours: seconds, ratio: beside / seconds };
    return [
      {
        what: `${what}, ${state}, ms of processor a path`,
        ours: cpuMs,
        wanted: atMost(cpuMs, WANTED_CPU_MS),
        ...(sample.cpuMs !== undefined && { note: `${name}: ${number(sample.cpuMs)} ms` }),
      },
      { ...row, baseline: { name, value: beside } },
    ];
  });
}
