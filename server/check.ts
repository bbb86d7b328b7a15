/** `narwhal-server check`: opens the caches as the server would, scans them, prints what it finds. */
import { Caches, check, type Finding, Verifier } from './cache/index.ts';
import { createLogger } from './log.ts';
import { readManifests } from './manifests.ts';
import { Progress } from './progress.ts';
import { load } from './serve.ts';
import { ByteBudget } from './storage/index.ts';
import { version } from './version.ts';

export interface CheckOptions {
  readonly files: readonly string[];
  readonly data: string;
  readonly cache?: string;
  readonly contents: boolean;
  readonly repair: boolean;
  /** Whether a progress bar makes sense. */
  readonly terminal: boolean;
}

const MEANING: Readonly<Record<Finding['kind'], string>> = {
  missing: 'has a row but no bytes',
  'wrong-size': 'has another size than its row says',
  'wrong-hash': 'has other bytes than its row says',
  'no-row': 'is a file without a row',
  unavailable: 'storage is not available; nothing in it was checked',
};

/** Whether everything is as it should be, after repairs. */
export async function runCheck(options: CheckOptions): Promise<boolean> {
  const logger = createLogger('warn', options.terminal);
  const documents = load(await readManifests(options.files), logger);
  const verifier = new Verifier();
  const caches = new Caches({
    data: options.data,
    // Keys are not made or renamed here, so any host will do that the cache has had.
    host: undefined,
    renameHost: false,
    version,
    verifier,
    logger,
    metrics: { published() {}, committed() {}, s3Request() {} },
    budget: new ByteBudget(64 * 2 ** 20),
    settings: {},
    graceMs: 0,
    inspecting: true,
  });
  const progress = new Progress(options.terminal, false);
  let clean = true;
  try {
    await caches.apply(documents);
    for (const cache of caches.list()) {
      if (options.cache !== undefined && options.cache !== cache.name) continue;
      const report = await check({
        database: cache.database,
        storages: cache.storages,
        contents: options.contents,
        repair: options.repair,
        onProgress: (done, total) => progress.show(cache.name, done, total),
      });
      progress.clear();
      for (const finding of report.findings) {
        const paths = finding.paths.length > 0 ? `; paths: ${finding.paths.join(' ')}` : '';
        console.log(`${cache.name}: ${finding.storage}: ${finding.object} ${MEANING[finding.kind]}${paths}`);
      }
      const mended = options.repair ? `, ${report.repaired} repaired` : '';
      console.log(
        `${cache.name}: ${report.objects} objects, ${report.bytes} bytes, ${report.findings.length} findings${mended}`,
      );
      clean &&= report.findings.length === report.repaired;
    }
  } finally {
    await caches.close();
    await verifier.stop();
  }
  return clean;
}
