/** Caches for a command that works on them by itself: nothing runs in the background, nothing is removed. */
import { type BinaryCache, CacheError, Caches, type Settings, Verifier } from '../cache/index.ts';
import { createLogger } from '../log.ts';
import { readConfiguration } from '../manifests.ts';
import { load } from '../serve.ts';
import { ByteBudget } from '../storage/index.ts';
import { version } from '../version.ts';

export interface OfflineOptions {
  readonly files: readonly string[];
  readonly data: string;
  readonly secrets: string | undefined;
  readonly storages: string | undefined;
  /** Only this one; undefined: all. */
  readonly cache: string | undefined;
  readonly terminal: boolean;
  readonly settings?: Partial<Settings>;
}

const BUFFER_BYTES = 64 * 2 ** 20;

/** Opens caches as the server would, calls `work` with each, closes them. @throws CacheError NotFound */
export async function withCaches(options: OfflineOptions, work: (cache: BinaryCache) => Promise<void>): Promise<void> {
  const logger = createLogger('warn', options.terminal);
  const documents = load(await readConfiguration(options), logger);
  const isWanted = (name: string) => options.cache === undefined || options.cache === name;
  const binaryCaches = documents.binaryCaches.filter((it) => isWanted(it.metadata.name));
  if (binaryCaches.length === 0) throw new CacheError('NotFound', `no manifest of a cache ${options.cache}`);
  const verifier = new Verifier();
  const caches = new Caches({
    data: options.data,
    volumes: options.storages,
    // Keys are not made or renamed here, so any host will do that the cache has had.
    host: undefined,
    renameHost: false,
    version,
    verifier,
    logger,
    metrics: { published() {}, committed() {}, moved() {}, collected() {}, s3Request() {} },
    budget: new ByteBudget(BUFFER_BYTES),
    settings: options.settings ?? {},
    graceMs: 0,
    inspecting: true,
  });
  try {
    await caches.apply({ ...documents, binaryCaches });
    for (const cache of caches.list()) await work(cache);
  } finally {
    await caches.close();
    await verifier.stop();
  }
}
