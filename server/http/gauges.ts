/** Prometheus series that are read off living things when somebody scrapes. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ScrubStatus, StorageStatus } from '../../crds/index.ts';
import { type Caches, soon, type Verifier } from '../cache/index.ts';
import type { ByteBudget } from '../storage/index.ts';
import type { Services } from './context.ts';

/** Makes them; each look at one asks again. */
export function watchGauges(
  registry: Registry,
  caches: Caches,
  verifier: Verifier,
  { reader, pushBodies, bodyMemory }: Pick<Services, 'reader' | 'pushBodies' | 'bodyMemory'>,
  budget: ByteBudget,
): void {
  new Gauge({
    name: 'narwhal_s3_buffer_bytes',
    help: 'Memory that bytes on their way to S3 take.',
    registers: [registry],
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
      registers: [registry],
      async collect() {
        this.reset();
        await read((cache, value) => this.set({ cache }, value));
      },
    });
  const each =
    (value: (cache: ReturnType<Caches['list']>[number]) => number) => (set: (cache: string, value: number) => void) => {
      for (const cache of caches.list()) set(cache.name, value(cache));
    };
  gauge(
    'narwhal_paths',
    'Store paths that are published.',
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
    registers: [registry],
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
    registers: [registry],
    collect() {
      const { running, queued } = verifier.stats();
      this.set({ state: 'running' }, running);
      this.set({ state: 'queued' }, queued);
    },
  });
  new Gauge({
    name: 'narwhal_downloads',
    help: 'Files that are being sent.',
    registers: [registry],
    collect() {
      this.set(reader.downloads.held);
    },
  });
  new Gauge({
    name: 'narwhal_downloads_waiting',
    help: 'Reads that wait until a file may be sent.',
    registers: [registry],
    collect() {
      this.set(reader.downloads.waiting);
    },
  });
  new Gauge({
    name: 'narwhal_body_memory_bytes',
    help: 'Memory that is kept for bodies which are read as a whole.',
    registers: [registry],
    collect() {
      this.set(bodyMemory.held);
    },
  });
  new Gauge({
    name: 'narwhal_body_memory_waiting',
    help: 'Bodies that wait for such memory.',
    registers: [registry],
    collect() {
      this.set(bodyMemory.waiting);
    },
  });
  new Counter({
    name: 'narwhal_stalled_total',
    help: 'Bodies and downloads that lost their place to others because they stood still.',
    labelNames: ['place'],
    registers: [registry],
    collect() {
      this.reset();
      this.inc({ place: 'download' }, reader.downloads.revoked);
      this.inc({ place: 'push-body' }, pushBodies.revoked);
      this.inc({ place: 'body-memory' }, bodyMemory.revoked);
      this.inc({ place: 's3-buffer' }, budget.revoked);
    },
  });
  new Counter({
    name: 'narwhal_uses_dropped_total',
    help: 'Uses of paths that found no room in memory while they could not be written down.',
    labelNames: ['cache'],
    registers: [registry],
    collect() {
      this.reset();
      for (const cache of caches.list()) this.inc({ cache: cache.name }, cache.uses.dropped);
    },
  });
  new Gauge({
    name: 'narwhal_push_bodies',
    help: 'Bodies of pushes that are being received (active), and that wait for their turn (waiting).',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      this.set({ state: 'active' }, pushBodies.held);
      this.set({ state: 'waiting' }, pushBodies.waiting);
    },
  });
  new Gauge({
    name: 'narwhal_storage_bytes',
    help: 'Bytes of objects in a storage (used), and what its medium has left (free).',
    labelNames: ['cache', 'storage', 'kind'],
    registers: [registry],
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
      registers: [registry],
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
    registers: [registry],
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
  new Gauge({
    name: 'narwhal_quota_bytes',
    help: 'Bytes that count for the quota of a cache: what is used, the mark of warning, and the most. Only with a quota.',
    labelNames: ['cache', 'kind'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, storages } of caches.list()) {
        const { usedBytes, softBytes, quotaBytes } = storages.quota;
        if (quotaBytes === undefined || softBytes === undefined) continue;
        this.set({ cache: name, kind: 'used' }, usedBytes);
        this.set({ cache: name, kind: 'soft' }, softBytes);
        this.set({ cache: name, kind: 'max' }, quotaBytes);
      }
    },
  });
  new Gauge({
    name: 'narwhal_waiting_paths',
    help: 'Published paths that wait for something of their closure; 10000 where there may be more.',
    labelNames: ['cache'],
    registers: [registry],
    async collect() {
      this.reset();
      for (const cache of caches.list()) {
        const waiting = await soon(cache.closures.report());
        if (waiting !== undefined) this.set({ cache: cache.name }, waiting.paths);
      }
    },
  });
  new Gauge({
    name: 'narwhal_retired_paths',
    help: 'Unpublished paths whose bytes are kept until their grace is over; 100000 where there may be more.',
    labelNames: ['cache'],
    registers: [registry],
    async collect() {
      this.reset();
      for (const cache of caches.list()) {
        const retention = await soon(cache.retention.status());
        if (retention !== undefined) this.set({ cache: cache.name }, retention.retiredPaths);
      }
    },
  });
  new Gauge({
    name: 'narwhal_collection_result',
    help: 'How the newest collection of the cache ended, whichever server did it: 1 for its result.',
    labelNames: ['cache', 'result'],
    registers: [registry],
    async collect() {
      this.reset();
      for (const cache of caches.list()) {
        const last = (await soon(cache.retention.status()))?.lastGC;
        if (last == null || last.state === 'running') continue;
        for (const result of ['done', 'held', 'failed'])
          this.set({ cache: cache.name, result }, result === last.state ? 1 : 0);
      }
    },
  });
  const scrubbed = (name: string, help: string, read: (scrub: ScrubStatus) => number | undefined) =>
    new Gauge({
      name,
      help,
      labelNames: ['cache', 'depth'],
      registers: [registry],
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
    registers: [registry],
    collect() {
      this.reset();
      for (const cache of caches.list()) {
        for (const storage of cache.storages.list())
          this.set({ cache: cache.name, storage: storage.name }, storage.health().state === 'Ready' ? 1 : 0);
      }
    },
  });
}
