import assert from 'node:assert/strict';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { Metrics, Probe } from '../../../../operator/runtime/index.ts';

describe('the probes', () => {
  const informer = { kind: { kind: 'Pod' }, hasSynced: true, idleForMs: 0 };
  let probe: Probe;
  let url: string;
  beforeEach(async () => {
    Object.assign(informer, { hasSynced: true, idleForMs: 0 });
    // Whatever a slow machine does to the event loop is not what is tested.
    const init = {
      informers: [informer],
      metrics: new Metrics(new Registry(), 'test'),
      logger: pino({ level: 'silent' }),
      maxLagMs: 60_000,
    };
    probe = new Probe(init);
    const { port } = await probe.listen('127.0.0.1', 0);
    url = `http://127.0.0.1:${port}`;
  });
  afterEach(() => probe.close());

  const ask = async (path: string) => {
    const response = await fetch(url + path);
    return [response.status, await response.text()];
  };

  it('are content while all is well', async () => {
    assert.deepEqual(await ask('/livez'), [200, 'ok\n']);
    assert.deepEqual(await ask('/readyz?verbose'), [200, 'ok\n']);
  });

  it('call a process ready once its stores are whole', async () => {
    informer.hasSynced = false;
    assert.deepEqual(await ask('/readyz'), [503, 'Pod: not listed\n']);
    assert.deepEqual(await ask('/livez'), [200, 'ok\n']);
  });

  it('call a process dead whose informer hangs', async () => {
    informer.idleForMs = 400_000;
    assert.deepEqual(await ask('/livez'), [503, 'Pod: idle for 400 s\n']);
    assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
  });

  it('show the metrics, and nothing else', async () => {
    const [status, text] = await ask('/metrics');
    assert.equal(status, 200);
    assert.match(String(text), /^test_leader 0$/m);
    assert.equal((await ask('/secrets'))[0], 404);
  });
});

describe('the metrics', () => {
  it('show what waits in queues and lies in stores when they are asked', async () => {
    const metrics = new Metrics(new Registry(), 'test');
    const queue = { depth: 3, oldestMs: 1500 };
    metrics.measureQueue('cache', queue);
    metrics.measureInformer('Pod', { size: 2 });
    metrics.measureInformer('Pod', { size: 5 });
    queue.depth = 4;
    for (let round = 0; round < 2; round += 1) {
      const text = await metrics.registry.metrics();
      assert.match(text, /^test_queue_depth\{controller="cache"\} 4$/m);
      assert.match(text, /^test_queue_oldest_seconds\{controller="cache"\} 1.5$/m);
      assert.match(text, /^test_informer_objects\{kind="Pod"\} 7$/m);
    }
  });
});
