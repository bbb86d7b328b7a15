/** Caches in the process of the test, with all that is theirs and nothing of HTTP. */
import { pino } from 'pino';
import { loadManifests } from '../../crds/index.ts';
import { Caches, type CachesInit, type Verifier } from '../../server/cache/index.ts';
import { ByteBudget } from '../../server/storage/index.ts';

export interface OpenInit {
  /** The data folder. */
  readonly data: string;
  readonly manifest: string;
  readonly verifier: Verifier;
  readonly settings?: CachesInit['settings'];
}

export async function openCaches({ data, manifest, verifier, settings = {} }: OpenInit): Promise<Caches> {
  const caches = new Caches({
    data,
    volumes: undefined,
    host: 'localhost',
    renameHost: false,
    version: '0.1.0',
    verifier,
    logger: pino({ level: 'silent' }),
    metrics: { published() {}, committed() {}, moved() {}, collected() {}, s3Request() {} },
    budget: new ByteBudget(2 ** 26),
    settings,
    graceMs: 0,
    inspecting: false,
  });
  const { documents } = loadManifests([{ file: 'cache.yaml', text: manifest }], { target: 'server' });
  await caches.apply(documents);
  return caches;
}
