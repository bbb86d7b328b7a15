import assert from 'node:assert/strict';
import { pino } from 'pino';
import { type Controller, Metrics, type Ref, runControllers } from '../../../../operator/runtime/index.ts';

const logger = pino({ enabled: false });
const never = () => new Promise<undefined>(() => {});

/** Runs a controller with one key until `ended` is called. */
class Run {
  readonly metrics = new Metrics();
  readonly #stop = new AbortController();
  readonly ended: Promise<void>;

  constructor(controller: Omit<Controller, 'name' | 'sources'>) {
    const source = { synced: Promise.resolve(), keys: () => ['team/main'], subscribe: () => () => {} };
    const whole = { name: 'test', sources: [source], backoff: { baseMs: 1, maxMs: 2 }, ...controller };
    this.ended = runControllers([whole], { logger, metrics: this.metrics }, this.#stop.signal);
  }

  stop(): Promise<void> {
    this.#stop.abort();
    return this.ended;
  }

  async timeouts(): Promise<number> {
    const text = await this.metrics.registry.metrics();
    return Number(/reconcile_seconds_count\{controller="test",result="timeout"\} (\d+)/.exec(text)?.[1] ?? 0);
  }
}

describe('a reconcile that takes too long', () => {
  for (const [title, hang] of [
    ['', never],
    [
      ', whether it heeds its signal or not',
      (signal: AbortSignal) =>
        new Promise<undefined>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    ],
  ] as const)
    it(`is ended, told of, and tried again${title}`, async () => {
      const signals: AbortSignal[] = [];
      const told: Ref[] = [];
      const again = Promise.withResolvers<void>();
      const run = new Run({
        timeoutMs: 20,
        onTimeout: (ref) => told.push(ref),
        async reconcile(_, signal) {
          signals.push(signal);
          if (signals.length < 3) return hang(signal);
          again.resolve();
        },
      });
      await again.promise;
      await run.stop();
      assert.deepEqual(
        signals.slice(0, 2).map(({ aborted }) => aborted),
        [true, true],
      );
      assert.deepEqual(told, Array(2).fill({ namespace: 'team', name: 'main' }));
      assert.equal(await run.timeouts(), 2);
    });

  it('takes no worker from the others', async () => {
    const done = Promise.withResolvers<void>();
    const source = { synced: Promise.resolve(), keys: () => ['a/hangs', 'a/works'], subscribe: () => () => {} };
    const stop = new AbortController();
    const controller: Controller = {
      name: 'test',
      sources: [source],
      workers: 1,
      timeoutMs: 20,
      async reconcile({ name }) {
        if (name === 'hangs') return never();
        done.resolve();
      },
    };
    const ended = runControllers([controller], { logger, metrics: new Metrics() }, stop.signal);
    await done.promise;
    stop.abort();
    await ended;
  });

  it('is none where it ends because it was told to stop: that is waited for', async () => {
    const begun = Promise.withResolvers<void>();
    const may = Promise.withResolvers<void>();
    let isEnded = false;
    const run = new Run({
      timeoutMs: 60_000,
      async reconcile() {
        begun.resolve();
        await may.promise;
        isEnded = true;
        return undefined;
      },
    });
    await begun.promise;
    const stopped = run.stop().then(() => assert.equal(isEnded, true));
    may.resolve();
    await stopped;
    assert.equal(await run.timeouts(), 0);
  });
});
