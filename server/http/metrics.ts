/**
 * Prometheus series. The hot routes only add to plain numbers; the series are made of them when somebody scrapes.
 */
import type { Logger } from 'pino';
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import type { CacheMetrics } from '../cache/index.ts';

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
  readonly #collections: Counter<'cache' | 'result'>;
  readonly #collectedPaths: Counter<'cache'>;
  readonly #collectedBytes: Counter<'cache'>;
  readonly #collectionSeconds: Histogram<'cache'>;
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
    this.#collections = new Counter({
      name: 'narwhal_collections_total',
      help: 'Collections that this server has ended, by result: done, held (they wait to be confirmed), failed.',
      labelNames: ['cache', 'result'],
      registers,
    });
    this.#collectedPaths = new Counter({
      name: 'narwhal_collection_removed_paths_total',
      help: 'Paths that those collections have retired.',
      labelNames: ['cache'],
      registers,
    });
    this.#collectedBytes = new Counter({
      name: 'narwhal_collection_removed_bytes_total',
      help: 'Bytes of their NARs, which go when the grace is over.',
      labelNames: ['cache'],
      registers,
    });
    this.#collectionSeconds = new Histogram({
      name: 'narwhal_collection_seconds',
      help: 'Time from the beginning of a collection to its end, with what clients get between roots and the rest.',
      labelNames: ['cache'],
      buckets: [0.1, 1, 10, 60, 300, 660, 1200, 3600],
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

  collected(
    cache: string,
    {
      result,
      milliseconds,
      paths,
      bytes,
    }: { result: 'held' | 'done' | 'failed'; milliseconds: number; paths: number; bytes: number },
  ): void {
    this.#collections.inc({ cache, result });
    this.#collectedPaths.inc({ cache }, paths);
    this.#collectedBytes.inc({ cache }, bytes);
    this.#collectionSeconds.observe({ cache }, milliseconds / 1000);
  }

  committed(cache: string, milliseconds: number, writes: number): void {
    this.#commits.observe({ cache }, milliseconds / 1000);
    this.#commitWrites.inc({ cache }, writes);
  }

  verified(milliseconds: number): void {
    this.#verifications.observe(milliseconds / 1000);
  }
}
