/** What the runtime reports of itself, as Prometheus series. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export type ReconcileResult = 'ok' | 'requeue' | 'conflict' | 'error' | 'terminal' | 'timeout';
/** `ended`: by the server, as agreed. `short`: at once and without a word. */
export type WatchEnd = 'ended' | 'short' | 'expired' | 'idle' | 'error' | 'absent';

interface Measured {
  readonly depth: number;
  readonly oldestMs: number;
}

export class Metrics {
  readonly registry: Registry;
  readonly #requests: Histogram<'verb' | 'code'>;
  readonly #reconciles: Histogram<'controller' | 'result'>;
  readonly #watchEnds: Counter<'kind' | 'reason'>;
  readonly #handlerErrors: Counter<'kind'>;
  readonly #eventsDropped: Counter;
  readonly #leader: Gauge;
  readonly #queues = new Map<string, Measured>();
  readonly #informers: { readonly kind: string; readonly store: { readonly size: number } }[] = [];

  /** @param prefix the first word of every series */
  constructor(registry: Registry = new Registry(), prefix = 'controller') {
    this.registry = registry;
    const base = (name: string, help: string) => ({ name: `${prefix}_${name}`, help, registers: [registry] });
    this.#requests = new Histogram({
      ...base('api_request_seconds', 'Requests to the API server until their answer began; code 0: none came.'),
      labelNames: ['verb', 'code'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
    });
    this.#reconciles = new Histogram({
      ...base('reconcile_seconds', 'Reconciles by how they ended.'),
      labelNames: ['controller', 'result'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    });
    this.#watchEnds = new Counter({
      ...base('watch_restarts_total', 'Watches and lists that were begun anew, by reason.'),
      labelNames: ['kind', 'reason'],
    });
    this.#handlerErrors = new Counter({
      ...base('informer_handler_errors_total', 'Exceptions of those who were told of a change.'),
      labelNames: ['kind'],
    });
    this.#eventsDropped = new Counter(base('events_dropped_total', 'Events that were not written.'));
    this.#leader = new Gauge(base('leader', '1 while this process leads.'));
    const queues = this.#queues;
    const informers = this.#informers;
    new Gauge({
      ...base('queue_depth', 'Keys that wait for a worker.'),
      labelNames: ['controller'],
      collect() {
        for (const [controller, queue] of queues) this.set({ controller }, queue.depth);
      },
    });
    new Gauge({
      ...base('queue_oldest_seconds', 'How long the oldest key has waited for a worker.'),
      labelNames: ['controller'],
      collect() {
        for (const [controller, queue] of queues) this.set({ controller }, queue.oldestMs / 1000);
      },
    });
    new Gauge({
      ...base('informer_objects', 'Objects in the stores of a kind.'),
      labelNames: ['kind'],
      collect() {
        this.reset();
        for (const { kind, store } of informers) this.inc({ kind }, store.size);
      },
    });
  }

  request(verb: string, code: number, seconds: number): void {
    this.#requests.observe({ verb, code }, seconds);
  }

  reconciled(controller: string, result: ReconcileResult, seconds: number): void {
    this.#reconciles.observe({ controller, result }, seconds);
  }

  watchEnded(kind: string, reason: WatchEnd): void {
    this.#watchEnds.inc({ kind, reason });
  }

  handlerFailed(kind: string): void {
    this.#handlerErrors.inc({ kind });
  }

  eventDropped(): void {
    this.#eventsDropped.inc();
  }

  leads(leading: boolean): void {
    this.#leader.set(leading ? 1 : 0);
  }

  /** The queue's depth and age are read whenever somebody asks for metrics. */
  measureQueue(controller: string, queue: Measured): void {
    this.#queues.set(controller, queue);
  }

  measureInformer(kind: string, store: { readonly size: number }): void {
    this.#informers.push({ kind, store });
  }
}
