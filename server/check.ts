/** `narwhal-server check`: opens the caches as the server would, scans them, prints what it finds. */
import { Caches, check, type Finding, Verifier } from './cache/index.ts';
import { createLogger } from './log.ts';
import { readManifests } from './manifests.ts';
import { load } from './serve.ts';
import { ByteBudget } from './storage/index.ts';

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
    verifier,
    logger,
    metrics: { published() {}, committed() {}, moved() {}, s3Request() {} },
    budget: new ByteBudget(64 * 2 ** 20),
    settings: {},
    graceMs: 0,
    inspecting: true,
  });
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
        onProgress: (done, total) => progress(options.terminal, cache.name, done, total),
      });
      if (options.terminal) process.stderr.write('\r\x1b[K');
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

const WIDTH = 30;
let drawnAt = 0;

function progress(terminal: boolean, cache: string, done: number, total: number): void {
  const now = Date.now();
  if (!terminal || (now - drawnAt < 100 && done < total)) return;
  drawnAt = now;
  const filled = total === 0 ? WIDTH : Math.round((done / total) * WIDTH);
  process.stderr.write(`\r${cache} [${'='.repeat(filled)}${' '.repeat(WIDTH - filled)}] ${done}/${total}\x1b[K`);
}
