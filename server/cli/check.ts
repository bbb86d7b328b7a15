/**
 * `narwhal-server check`: asks the server that has the data folder; where none runs, opens the caches as it would. Prints
 * what is found.
 */
import { CacheError, type CheckReport, check, type Finding } from '../cache/index.ts';
import { askForCheck, controlSocket } from '../http/index.ts';
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
  found: 'was lost and is there again',
  'no-row': 'is a file without a row',
  unavailable: 'storage is not available; nothing in it was checked',
  'given-up': 'storage is given up (mode Abandoned); nothing in it was checked',
  interrupted: 'storage failed meanwhile; not all of it was checked',
};

/** Whether everything is as it should be, after repairs. */
export async function runCheck(options: CheckOptions): Promise<boolean> {
  const progress = new Progress(options.terminal, true);
  const show = (cache: string, done: number, total: number) => progress.show(cache, done, total);
  let clean = true;
  const tell = (cache: string, report: CheckReport) => {
    progress.clear();
    clean = print(cache, report, options.repair) && clean;
  };
  if (await askServer(options, show, tell)) return clean;
  const signal = new AbortController().signal;
  await withCaches(options, async (cache) => {
    const { contents, repair, bytesPerSecond } = options;
    const report = await check({
      cache,
      contents,
      repair,
      bytesPerSecond,
      isAlone: !cache.database.isShared,
      signal,
      onProgress: (done, total) => show(cache.name, done, total),
    });
    tell(cache.name, report);
  });
  return clean;
}

/** Whether a server runs, and has done it. @throws CacheError where it could not */
async function askServer(
  options: CheckOptions,
  show: (cache: string, done: number, total: number) => void,
  tell: (cache: string, report: CheckReport) => void,
): Promise<boolean> {
  const answers = await askForCheck(controlSocket(options.data), options);
  if (answers === undefined) return false;
  let done: number | undefined;
  for await (const answer of answers) {
    if ('error' in answer) throw new CacheError('Conflict', answer.error);
    if ('progress' in answer) show(answer.cache, answer.progress.done, answer.progress.total);
    else if ('report' in answer) tell(answer.cache, answer.report);
    else done = answer.done;
  }
  if (done === undefined) throw new CacheError('Incomplete', 'the server ended before the check did; run it again');
  if (done === 0) throw new CacheError('NotFound', `the server that runs has no cache ${options.cache ?? ''}`.trim());
  return true;
}

/** Whether all is as it should be. */
function print(cache: string, { objects, bytes, findings, repaired }: CheckReport, repair: boolean): boolean {
  for (const finding of findings) {
    const paths = finding.paths.length > 0 ? `; paths: ${finding.paths.join(' ')}` : '';
    const mended = finding.isRepaired ? MENDED[finding.kind] : '';
    console.log(`${cache}: ${finding.storage}: ${finding.object} ${MEANING[finding.kind]}${paths}${mended}`);
  }
  const mended = repair ? `, ${repaired} repaired` : '';
  console.log(`${cache}: ${objects} objects, ${bytes} bytes, ${findings.length} findings${mended}`);
  return findings.filter((finding) => finding.kind !== 'given-up' && !finding.isRepaired).length === 0;
}

/** Nothing is fetched again: what is lost must be pushed anew. */
const MENDED: Readonly<Record<Finding['kind'], string>> = {
  missing: '; unpublished, push it again',
  'wrong-size': '; unpublished, push it again',
  'wrong-hash': '; unpublished, push it again',
  found: '; served again',
  'no-row': '; removed',
  unavailable: '',
  'given-up': '',
  interrupted: '',
};
