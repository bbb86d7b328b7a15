/**
 * Prometheus series. The hot routes only add to plain numbers; the series are made of them when somebody scrapes.
 */
import type { Logger } from 'pino';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ScrubStatus, StorageStatus } from '../../crds/index.ts';
import { type CacheMetrics, type Caches, soon, type Verifier } from '../cache/index.ts';
import type { ByteBudget } from '../storage/index.ts';
import type { Doors } from './context.ts';

/** Look-ups of narinfos that one place has answered. */
export interface Lookups {
  hits: number;
  misses: number;
}

export class Metrics implements CacheMetrics {
  readonly registry = new Registry();
  readonly logger: Logger;
  /** By where the answer came from: most come from memory, and a look into the database costs ten times as much. */
  readonly narinfos = { memory: { hits: 0, misses: 0 }, database: { hits: 0, misses: 0 } } satisfies Record<
    string,
    Lookups
  >;
  bytesSent = 0;
  bytesReceived = 0;
  readsShed = 0;
  readonly #answers = new Map<string, Map<number, number>>();
  readonly #published: Counter<'cache'>;
  readonly #commits: Histogram<'cache'>;
  readonly #commitWrites: Counter<'cache'>;
  readonly #verifications: Histogram;
  readonly #movedObjects: Counter<'cache' | 'storage'>;
  readonly #movedBytes: Counter<'cache' | 'storage'>;
  readonly #s3Requests: Counter<'cache' | 'storage' | 'operation' | 'status'>;
  readonly #s3Seconds: Histogram<'cache' | 'storage' | 'operation'>;

  constructor(logger: Logger) {
    this.logger = logger;
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const self = this;
    new Counter({
      name: 'narwhal_http_requests_total',
      help: 'Answered requests by route and status.',
      labelNames: ['route', 'status'],
      registers,
      collect() {
        this.reset();
        for (const { hits, misses } of Object.values(self.narinfos)) {
          this.inc({ route: 'narinfo', status: 200 }, hits);
          this.inc({ route: 'narinfo', status: 404 }, misses);
        }
        for (const [route, statuses] of self.#answers)
          for (const [status, count] of statuses) this.inc({ route, status }, count);
      },
    });
    new Counter({
      name: 'narwhal_narinfo_lookups_total',
      help: 'Narinfo look-ups by result, and by what answered: memory, or the database.',
      labelNames: ['result', 'source'],
      registers,
      collect() {
        this.reset();
        for (const [source, { hits, misses }] of Object.entries(self.narinfos)) {
          this.inc({ result: 'hit', source }, hits);
          this.inc({ result: 'miss', source }, misses);
        }
      },
    });
    new Counter({
      name: 'narwhal_sent_bytes_total',
      help: 'Bytes of objects sent.',
      registers,
      collect() {
        this.reset();
        this.inc(self.bytesSent);
      },
    });
    new Counter({
      name: 'narwhal_received_bytes_total',
      help: 'Bytes of request bodies received.',
      registers,
      collect() {
        this.reset();
        this.inc(self.bytesReceived);
      },
    });
    new Counter({
      name: 'narwhal_downloads_shed_total',
      help: 'Reads that were sent away because too many ran.',
      registers,
      collect() {
        this.reset();
        this.inc(self.readsShed);
      },
    });
    this.#published = new Counter({
      name: 'narwhal_paths_published_total',
      help: 'Store paths that became visible.',
      labelNames: ['cache'],
      registers,
    });
    this.#commits = new Histogram({
      name: 'narwhal_database_commit_seconds',
      help: 'Time of a write transaction, durable commit included.',
      labelNames: ['cache'],
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
      registers,
    });
    this.#commitWrites = new Counter({
      name: 'narwhal_database_writes_total',
      help: 'Writes in those transactions.',
      labelNames: ['cache'],
      registers,
    });
    this.#verifications = new Histogram({
      name: 'narwhal_verification_seconds',
      help: 'Time from the last byte of a NAR to its verdict.',
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300],
      registers,
    });
    this.#movedObjects = new Counter({
      name: 'narwhal_moved_objects_total',
      help: 'Objects that this server has moved out of a storage.',
      labelNames: ['cache', 'storage'],
      registers,
    });
    this.#movedBytes = new Counter({
      name: 'narwhal_moved_bytes_total',
      help: 'Bytes of those objects.',
      labelNames: ['cache', 'storage'],
      registers,
    });
    this.#s3Requests = new Counter({
      name: 'narwhal_s3_requests_total',
      help: 'Requests to S3 by operation and status, retries included; status 0: no answer.',
      labelNames: ['cache', 'storage', 'operation', 'status'],
      registers,
    });
    this.#s3Seconds = new Histogram({
      name: 'narwhal_s3_request_seconds',
      help: 'Time until the head of the answer of a request to S3.',
      labelNames: ['cache', 'storage', 'operation'],
      buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30],
      registers,
    });
  }

  s3Request(
    cache: string,
    storage: string,
    { operation, status, milliseconds }: { operation: string; status: number; milliseconds: number },
  ): void {
    this.#s3Requests.inc({ cache, storage, operation, status });
    this.#s3Seconds.observe({ cache, storage, operation }, milliseconds / 1000);
  }

  /** Series that are read off living things. */
  watch(
    caches: Caches,
    verifier: Verifier,
    { reader, pushBodies, bodyMemory }: Pick<Doors, 'reader' | 'pushBodies' | 'bodyMemory'>,
    budget: ByteBudget,
  ): void {
    new Gauge({
      name: 'narwhal_s3_buffer_bytes',
      help: 'Memory that bytes on their way to S3 take.',
      registers: [this.registry],
      collect() {
        this.set(budget.held);
      },
    });
    const gauge = (
      name: string,
      help: string,
      read: (set: (cache: string, value: number) => void) => void | Promise<void>,
    ) =>
      new Gauge({
        name,
        help,
        labelNames: ['cache'],
        registers: [this.registry],
        async collect() {
          this.reset();
          await read((cache, value) => this.set({ cache }, value));
        },
      });
    const each =
      (value: (cache: ReturnType<Caches['list']>[number]) => number) =>
      (set: (cache: string, value: number) => void) => {
        for (const cache of caches.list()) set(cache.name, value(cache));
      };
    gauge(
      'narwhal_paths',
      'Store paths that are served.',
      each((cache) => cache.paths.count),
    );
    gauge(
      'narwhal_uploads_open',
      'Multipart uploads that were begun and not ended.',
      each((cache) => cache.uploads.open),
    );
    gauge(
      'narwhal_uploads_active',
      'Those of them that hold a file open.',
      each((cache) => cache.uploads.active),
    );
    gauge(
      'narwhal_database_queue',
      'Writes that wait for the next transaction.',
      each((cache) => cache.database.queueLength),
    );
    new Gauge({
      name: 'narwhal_database_connections',
      help: 'Connections to PostgreSQL, those of them that are idle, and calls that wait for one.',
      labelNames: ['cache', 'state'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const cache of caches.list())
          for (const [state, count] of Object.entries(cache.database.connections ?? {}))
            this.set({ cache: cache.name, state }, count);
      },
    });
    new Gauge({
      name: 'narwhal_verifications',
      help: 'Verifications that run, and complete files that wait for one.',
      labelNames: ['state'],
      registers: [this.registry],
      collect() {
        const { running, queued } = verifier.stats();
        this.set({ state: 'running' }, running);
        this.set({ state: 'queued' }, queued);
      },
    });
    new Gauge({
      name: 'narwhal_downloads',
      help: 'Files that are being sent.',
      registers: [this.registry],
      collect() {
        this.set(reader.downloads.held);
      },
    });
    new Gauge({
      name: 'narwhal_downloads_waiting',
      help: 'Reads that wait until a file may be sent.',
      registers: [this.registry],
      collect() {
        this.set(reader.downloads.waiting);
      },
    });
    new Gauge({
      name: 'narwhal_body_memory_bytes',
      help: 'Memory that is kept for bodies which are read as a whole.',
      registers: [this.registry],
      collect() {
        this.set(bodyMemory.held);
      },
    });
    new Gauge({
      name: 'narwhal_body_memory_waiting',
      help: 'Bodies that wait for such memory.',
      registers: [this.registry],
      collect() {
        this.set(bodyMemory.waiting);
      },
    });
    new Counter({
      name: 'narwhal_stalled_total',
      help: 'Bodies and downloads that lost their place to others because they stood still.',
      labelNames: ['place'],
      registers: [this.registry],
      collect() {
        this.reset();
        this.inc({ place: 'download' }, reader.downloads.revoked);
        this.inc({ place: 'push-body' }, pushBodies.revoked);
        this.inc({ place: 'body-memory' }, bodyMemory.revoked);
        this.inc({ place: 's3-buffer' }, budget.revoked);
      },
    });
    new Gauge({
      name: 'narwhal_push_bodies',
      help: 'Bodies of pushes that are being received (active), and that wait for their turn (waiting).',
      labelNames: ['state'],
      registers: [this.registry],
      collect() {
        this.set({ state: 'active' }, pushBodies.held);
        this.set({ state: 'waiting' }, pushBodies.waiting);
      },
    });
    new Gauge({
      name: 'narwhal_storage_bytes',
      help: 'Bytes of objects in a storage (used), and what its medium has left (free).',
      labelNames: ['cache', 'storage', 'kind'],
      registers: [this.registry],
      async collect() {
        this.reset();
        for (const cache of caches.list()) {
          for (const storage of await cache.storageReport()) {
            this.set({ cache: cache.name, storage: storage.name, kind: 'used' }, storage.usedBytes);
            if (storage.freeBytes !== undefined)
              this.set({ cache: cache.name, storage: storage.name, kind: 'free' }, storage.freeBytes);
          }
        }
      },
    });
    const left = (name: string, help: string, read: (storage: StorageStatus) => number | undefined) =>
      new Gauge({
        name,
        help,
        labelNames: ['cache', 'storage'],
        registers: [this.registry],
        async collect() {
          this.reset();
          for (const cache of caches.list()) {
            for (const storage of await cache.storageReport()) {
              const value = read(storage);
              if (value !== undefined) this.set({ cache: cache.name, storage: storage.name }, value);
            }
          }
        },
      });
    left(
      'narwhal_storage_drain_objects',
      'Objects that are left in a storage that is drained or given up.',
      (storage) => storage.objects,
    );
    left('narwhal_storage_drain_bytes', 'Bytes of those objects.', (storage) => storage.bytes);
    new Gauge({
      name: 'narwhal_lost_objects',
      help: 'Objects of a storage whose bytes are gone, cut short or changed.',
      labelNames: ['cache', 'storage'],
      registers: [this.registry],
      async collect() {
        this.reset();
        for (const cache of caches.list()) {
          // Without a database nothing is known; the other series are still wanted.
          const counts = await soon(cache.lost.counts());
          if (counts === undefined) continue;
          for (const { name } of cache.storages.list()) this.set({ cache: cache.name, storage: name }, 0);
          for (const [storage, n] of counts) this.set({ cache: cache.name, storage }, n);
        }
      },
    });
    const scrubbed = (name: string, help: string, read: (scrub: ScrubStatus) => number | undefined) =>
      new Gauge({
        name,
        help,
        labelNames: ['cache', 'depth'],
        registers: [this.registry],
        async collect() {
          this.reset();
          for (const cache of caches.list()) {
            for (const scrub of (await soon(cache.scrub.report())) ?? []) {
              const value = read(scrub);
              if (value !== undefined) this.set({ cache: cache.name, depth: scrub.depth }, value);
            }
          }
        },
      });
    scrubbed('narwhal_scrub_objects', 'Objects that the last scrub has looked at so far.', (scrub) => scrub.objects);
    scrubbed('narwhal_scrub_ended_timestamp_seconds', 'When the last scrub ended; absent while one runs.', (scrub) =>
      scrub.endedAt === null ? undefined : Date.parse(scrub.endedAt) / 1000,
    );
    new Gauge({
      name: 'narwhal_storage_ready',
      help: 'Whether a storage can be used: 1 or 0.',
      labelNames: ['cache', 'storage'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const cache of caches.list()) {
          for (const storage of cache.storages.list())
            this.set({ cache: cache.name, storage: storage.name }, storage.health().state === 'Ready' ? 1 : 0);
        }
      },
    });
  }

  answered(route: string, status: number): void {
    let statuses = this.#answers.get(route);
    if (statuses === undefined) {
      statuses = new Map();
      this.#answers.set(route, statuses);
    }
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }

  published(cache: string): void {
    this.#published.inc({ cache });
  }

  moved(cache: string, storage: string, bytes: number): void {
    this.#movedObjects.inc({ cache, storage });
    this.#movedBytes.inc({ cache, storage }, bytes);
  }

  committed(cache: string, milliseconds: number, writes: number): void {
    this.#commits.observe({ cache }, milliseconds / 1000);
    this.#commitWrites.inc({ cache }, writes);
  }

  verified(milliseconds: number): void {
    this.#verifications.observe(milliseconds / 1000);
  }
}
