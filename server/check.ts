/** `narwhal-server check`: opens the caches as the server would, scans them, prints what it finds. */
import { type BinaryCache, check, type Finding } from './cache/index.ts';
import { withCaches } from './offline.ts';
import { Progress } from './progress.ts';

export interface CheckOptions {
  readonly files: readonly string[];
  readonly data: string;
  readonly secrets: string | undefined;
  readonly storages: string | undefined;
  readonly cache: string | undefined;
  readonly contents: boolean;
  readonly repair: boolean;
  /** For `contents`; undefined: as fast as it goes. */
  readonly bytesPerSecond: number | undefined;
  /** Whether a progress bar makes sense. */
  readonly terminal: boolean;
}

const MEANING: Readonly<Record<Finding['kind'], string>> = {
  missing: 'has a row but no bytes',
  'wrong-size': 'has another size than its row says',
  'wrong-hash': 'has other bytes than its row says',
  'no-row': 'is a file without a row',
  unavailable: 'storage is not available; nothing in it was checked',
  'given-up': 'storage is given up (mode Abandoned); nothing in it was checked',
  interrupted: 'storage failed meanwhile; not all of it was checked',
};

/** Whether everything is as it should be, after repairs. */
export async function runCheck(options: CheckOptions): Promise<boolean> {
  let clean = true;
  await withCaches(options, async (cache) => {
    clean = (await checkCache(cache, options)) && clean;
  });
  return clean;
}

async function checkCache(cache: BinaryCache, options: CheckOptions): Promise<boolean> {
  const progress = new Progress(options.terminal, false);
  const report = await check({
    database: cache.database,
    storages: cache.storages,
    contents: options.contents,
    bytesPerSecond: options.bytesPerSecond,
    repair: options.repair,
    onProgress: (done, total) => progress.show(cache.name, done, total),
  });
  progress.clear();
  for (const finding of report.findings) {
    const paths = finding.paths.length > 0 ? `; paths: ${finding.paths.join(' ')}` : '';
    const mended = finding.isRepaired ? MENDED[finding.kind] : '';
    console.log(`${cache.name}: ${finding.storage}: ${finding.object} ${MEANING[finding.kind]}${paths}${mended}`);
  }
  const mended = options.repair ? `, ${report.repaired} repaired` : '';
  const { objects, bytes, findings } = report;
  console.log(`${cache.name}: ${objects} objects, ${bytes} bytes, ${findings.length} findings${mended}`);
  return findings.filter((finding) => finding.kind !== 'given-up' && !finding.isRepaired).length === 0;
}

/** Nothing is fetched again: what is lost must be pushed anew. */
const MENDED: Readonly<Record<Finding['kind'], string>> = {
  missing: '; unpublished, push it again',
  'wrong-size': '; unpublished, push it again',
  'wrong-hash': '; unpublished, push it again',
  'no-row': '; removed',
  unavailable: '',
  'given-up': '',
  interrupted: '',
};
