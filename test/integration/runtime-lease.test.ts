// Leader election by a real Lease.
import assert from 'node:assert/strict';
import { kinds, type Lease, type LeaseInit, LeaseLost, lead } from '../../operator/runtime/index.ts';
import { type FaultProxy, inTurn } from '../support/fault-proxy.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { closeRuntimes, counted, proxyFor, type Runtime, runtimeFor } from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

/** Long enough that no slow machine loses a lease by itself. */
const TIMES = { leaseMs: 20_000, renewMs: 15_000, retryMs: 50, graceMs: 5000 };

describeWith('kubernetes', 'a lease', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let runtime: Runtime;

  before(async () => {
    kubernetes = await sharedKubernetes();
    namespace = await kubernetes.namespace('lease');
  });
  beforeEach(() => {
    runtime = runtimeFor(kubernetes);
  });
  afterEach(closeRuntimes);

  /** Somebody who wants to lead, and does so until `stop`. */
  class Candidate {
    isLeading = false;
    readonly #stop = new AbortController();
    readonly ended: Promise<unknown>;

    constructor(name: string, identity: string, init: Partial<LeaseInit> = {}) {
      const work = async (signal: AbortSignal) => {
        this.isLeading = true;
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        this.isLeading = false;
      };
      const signal = AbortSignal.any([this.#stop.signal, runtime.signal]);
      this.ended = lead({ ...runtime, ...TIMES, namespace, name, identity, ...init }, signal, work).then(
        () => undefined,
        (error: unknown) => error,
      );
    }

    leads(): Promise<void> {
      return until('it leads', () => this.isLeading);
    }

    stop(): Promise<unknown> {
      this.#stop.abort();
      return this.ended;
    }
  }

  const read = async (name: string): Promise<Lease> => {
    const lease = await runtime.api.get(kinds.Lease, { namespace, name });
    assert.ok(lease !== undefined);
    return lease;
  };

  it('is held by one of two, and handed over at once when that one ends', async () => {
    const first = new Candidate('two', 'first');
    await first.leads();
    assert.equal(await counted(runtime.metrics, 'test_leader'), 1);
    const second = new Candidate('two', 'second');
    const { spec } = await read('two');
    assert.equal(spec?.holderIdentity, 'first');
    assert.equal(spec?.leaseDurationSeconds, 20);
    assert.match(spec?.renewTime ?? '', /\.\d{6}Z$/);
    await until('it is renewed', async () => (await read('two')).spec?.renewTime !== spec?.renewTime);
    assert.ok(!second.isLeading);
    const start = performance.now();
    assert.equal(await first.stop(), undefined);
    await second.leads();
    assert.ok(performance.now() - start < TIMES.leaseMs, 'it did not wait for the end of the lease');
    assert.equal((await read('two')).spec?.leaseTransitions, 1);
    await second.stop();
    assert.equal((await read('two')).spec?.holderIdentity, '');
  });

  it('is taken from a holder who has gone silent, by our own clock', async () => {
    // Whose clock is an hour ahead, and who died.
    const time = new Date(Date.now() + 3_600_000).toISOString().replace('Z', '000Z');
    const spec = { holderIdentity: 'dead', leaseDurationSeconds: 1, acquireTime: time, renewTime: time };
    const { apiVersion, kind } = kinds.Lease;
    await runtime.api.create(kinds.Lease, { apiVersion, kind, metadata: { namespace, name: 'silent' }, spec });
    const start = performance.now();
    const heir = new Candidate('silent', 'heir', { leaseMs: 1500, renewMs: 1400 });
    await heir.leads();
    assert.ok(performance.now() - start >= 1500);
    assert.equal((await read('silent')).spec?.leaseTransitions, 1);
  });

  it('is lost to whoever writes another name into it', async () => {
    const candidate = new Candidate('robbed', 'first');
    await candidate.leads();
    await runtime.api.patch(kinds.Lease, { namespace, name: 'robbed' }, { spec: { holderIdentity: 'thief' } });
    assert.ok((await candidate.ended) instanceof LeaseLost);
    assert.ok(!candidate.isLeading);
    assert.equal((await read('robbed')).spec?.holderIdentity, 'thief', 'it is not ours to give back');
  });

  it('is given back when the work ends by itself, well or not', async () => {
    const init = { ...runtime, ...TIMES, namespace, name: 'worked', identity: 'worker' };
    await lead(init, runtime.signal, async () => {});
    assert.equal((await read('worked')).spec?.holderIdentity, '');
    await assert.rejects(
      lead(init, runtime.signal, () => Promise.reject(new Error('the work failed'))),
      /the work failed/,
    );
    assert.equal((await read('worked')).spec?.holderIdentity, '');
  });

  it('is kept when work does not stop in time, until it ends by itself', async () => {
    const stop = new AbortController();
    const init = { ...runtime, ...TIMES, graceMs: 50, namespace, name: 'stubborn', identity: 'worker' };
    let hasBegun = false;
    const endless = () => {
      hasBegun = true;
      return new Promise<void>(() => {});
    };
    const leading = lead(init, stop.signal, endless);
    await until('it works', () => hasBegun);
    stop.abort();
    await leading;
    assert.equal((await read('stubborn')).spec?.holderIdentity, 'worker');
  });

  it('refuses to be led longer than others wait', async () => {
    const init = { ...runtime, namespace, name: 'wrong', identity: 'a', leaseMs: 1000, renewMs: 1000 };
    await assert.rejects(
      lead(init, runtime.signal, async () => {}),
      RangeError,
    );
  });

  describe('behind a proxy', () => {
    let proxy: FaultProxy;
    beforeEach(async () => {
      proxy = await proxyFor(kubernetes);
    });
    afterEach(async () => {
      await closeRuntimes();
      await proxy.close();
    });

    it('is still ours when only the answer to a renewal was lost', async () => {
      const { api } = runtimeFor(kubernetes, { server: proxy.url });
      const candidate = new Candidate('answerless', 'first', { api });
      await candidate.leads();
      proxy.fate = inTurn(({ method }) => method === 'PUT', [{ status: 'drop', forward: true }]);
      const puts = () => proxy.seen.filter(({ method }) => method === 'PUT').length;
      const before = puts();
      await until('it was renewed again', () => puts() > before + 4);
      assert.ok(candidate.isLeading);
      assert.equal(await candidate.stop(), undefined);
      assert.equal((await read('answerless')).spec?.holderIdentity, '');
    });

    it('is lost after its time when every call hangs', async () => {
      const { api } = runtimeFor(kubernetes, { server: proxy.url });
      const candidate = new Candidate('hung', 'first', { api, leaseMs: 60_000, renewMs: 2000 });
      await candidate.leads();
      const start = performance.now();
      proxy.fate = () => ({ status: 'hang', forward: false });
      assert.ok((await candidate.ended) instanceof LeaseLost);
      assert.ok(performance.now() - start < 60_000);
    });
  });
});
