/** What the operator takes for many caches: time, memory, requests to the API server. Without nodes, so that it alone is seen. */
import { setTimeout as wait } from 'node:timers/promises';
import { kinds } from '../../../operator/runtime/index.ts';
import { CacheNamespace } from '../../../test/support/cache-namespace.ts';
import { Operator } from '../../../test/support/operator.ts';
import { podAccess } from '../../../test/support/pod-access.ts';
import { until } from '../../../test/support/server.ts';
import type { Bench, Sample } from '../bench.ts';
import { memoryOf } from '../processes.ts';
import { inFlight } from '../push.ts';
import { atMost, median, number, type Row } from '../report.ts';
import { startKubernetes } from '../services.ts';

const SPEC = { tokens: [{ name: 'push', permissions: ['Write'] }] };
/** As the chart has it, but that a cache without nodes, whose pods never come, is not looked at by itself. */
const DEFAULTS = { poll: 3600, 'status-interval': 60, 'numbers-interval': 15, 'secrets-interval': 300 };
const CALM = { 'lease-duration': 600, 'renew-deadline': 500, 'lease-retry': 300 };
const SINGLE = 20;
const SETTLE_MS = 5000;
const LOOKS_MS = 10_000;
const LIMIT_MS = 600_000;
const WANTED = { makeMsEach: 100, requestsEach: 40, peakMb: 200, restartMsEach: 10, lookMs: 5, singleMs: 1000 };

export async function operator(bench: Bench): Promise<Row[]> {
  const count = bench.quick ? 30 : 500;
  const { narwhal: seen } = await bench.compare({ narwhal: () => look(bench, count) });
  const of = (name: string) => seen[name] ?? Number.NaN;
  const row = (what: string, ours: number, most: number, note: string): Row => ({
    what: `operator, ${what}`,
    ours,
    wanted: atMost(ours, most),
    note,
  });
  const verbs = ['get', 'apply', 'create', 'patch', 'list', 'watch'].map((verb) => `${verb} ${number(of(verb))}`);
  return [
    row(`${count} caches made, s`, of('madeS'), (WANTED.makeMsEach * count) / 1000, 'from the start of its process'),
    row('requests a cache', of('requests'), WANTED.requestsEach, verbs.join(', ')),
    row('peak RSS, MB', of('peakMb'), WANTED.peakMb, `${number(of('idleMb'))} at rest`),
    row('started again, s', of('restartS'), (WANTED.restartMsEach * count) / 1000, 'until each was looked at'),
    row('writes when started again', of('writes'), 0, 'beside the lease'),
    row('processor for a look, ms', of('lookMs'), WANTED.lookMs, 'at a cache that is as it should be'),
    row('one cache more, p50 ms', of('singleMs'), WANTED.singleMs, `from apply to the last object, among ${count}`),
  ];
}

async function look(bench: Bench, count: number): Promise<Sample> {
  const running = await bench.serving(startKubernetes());
  const kubernetes = running.server;
  const namespace = await CacheNamespace.make(kubernetes, 'bench');
  const env = await podAccess(kubernetes, bench.newFolder('operator'), await namespace.administrator('operator'));
  const flags = (more: object) =>
    Object.entries({ ...DEFAULTS, ...CALM, ...more }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const args = ['--watch-namespaces', namespace.name, ...flags({})];
  const operator = await Operator.idle({ kubeconfig: '', namespace: namespace.name, args, env });
  try {
    await inFlight(
      Array.from({ length: count }, (_, index) => `cache-${index}`),
      8,
      async (name) => {
        await namespace.cache(name, SPEC);
      },
    );
    const made = await timed(async () => {
      await operator.restart();
      await until('all are made', async () => (await lastObjects(namespace)) === count, LIMIT_MS);
      await isAtRest(operator);
    });
    const requests = await requestsOf(operator, count);
    await wait(SETTLE_MS);
    const { rssMb: idleMb, peakMb } = memoryOf(operator.process.pid);
    const singleMs = await singles(namespace);
    await operator.stop();
    const restart = await timed(async () => {
      await operator.restart();
      await until('each was looked at', async () => (await looks(operator)) >= count + SINGLE, LIMIT_MS);
    });
    const { replace, ...others } = await operator.writes();
    const writes = replace - 1 + Object.values(others).reduce((sum, it) => sum + it, 0);
    await operator.stop();
    await operator.restart({ args: flags({ poll: 1 }) });
    const lookMs = await processorOfLooks(operator);
    return { madeS: made / 1000, ...requests, idleMb, peakMb, singleMs, restartS: restart / 1000, writes, lookMs };
  } finally {
    await operator.remove();
    await bench.end(running);
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** How many caches have the object that is made last. */
async function lastObjects(namespace: CacheNamespace): Promise<number> {
  const path = `${namespace.path(kinds.PodDisruptionBudget)}?limit=1`;
  const { items, metadata } = await namespace.kubernetes.expect(path);
  return (items as unknown[]).length + Number(metadata?.remainingItemCount ?? 0);
}

const looks = (operator: Operator) =>
  operator.metric('narwhal_operator_reconcile_seconds_count', { controller: 'caches' });

async function isAtRest(operator: Operator): Promise<void> {
  await until('nothing waits', async () => (await operator.metric('narwhal_operator_queue_depth')) === 0, LIMIT_MS);
}

/** Requests for each of `count` caches, in all and by verb. */
async function requestsOf(operator: Operator, count: number): Promise<Record<string, number>> {
  const series = 'narwhal_operator_api_request_seconds_count';
  const result: Record<string, number> = { requests: (await operator.metric(series)) / count };
  for (const verb of ['get', 'apply', 'create', 'patch', 'list', 'watch'])
    result[verb] = (await operator.metric(series, { verb })) / count;
  return result;
}

/** From the manifest of one cache to its last object, in ms. */
async function singles(namespace: CacheNamespace): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < SINGLE; index++) {
    const name = `single-${index}`;
    const isThere = async () => (await namespace.find(kinds.PodDisruptionBudget, name)) !== undefined;
    times.push(
      await timed(async () => {
        await namespace.cache(name, SPEC);
        await until(`${name} is made`, isThere);
      }),
    );
  }
  return median(times);
}

/** Milliseconds of processor for one look, while all caches are looked at each second, or as often as that goes. */
async function processorOfLooks(operator: Operator): Promise<number> {
  await until('it has begun', async () => (await looks(operator)) > 0);
  const seen = async () => [await looks(operator), await operator.metric('process_cpu_seconds_total')] as const;
  const [looksBefore, secondsBefore] = await seen();
  await wait(LOOKS_MS);
  const [looksAfter, secondsAfter] = await seen();
  return ((secondsAfter - secondsBefore) * 1000) / (looksAfter - looksBefore);
}
