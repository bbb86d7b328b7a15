// Which test files share a mocha: those that share a server would each start it anew, and for short ones the start of
// mocha is most of the time.

/** Seconds of a batch: no longer, so that lanes end together. */
const MOST_SECONDS = 60;
/** Of a file that never ran here. */
const UNKNOWN_SECONDS = 15;
/** What a file begins with an import of, from where it is shared by the files of a mocha. */
const SHARED = /^import .* from '\.\.\/support\/(shared-[a-z]+)\.ts';$/m;

/**
 * Batches of files, the longest first, so that none runs on by itself.
 * @param {readonly string[]} files of one stage
 * @param {{ times: Record<string, number>, textOf(file: string): string, together?: boolean }} options `times`: seconds
 *   of each file; `together`: files that share nothing share a mocha too
 * @returns {string[][]}
 */
export function batchesOf(files, { times, textOf, together = false }) {
  const secondsOf = (file) => times[file] ?? UNKNOWN_SECONDS;
  const open = new Map();
  const batches = [];
  for (const file of [...files].sort((a, b) => secondsOf(b) - secondsOf(a))) {
    const shares = SHARED.exec(textOf(file))?.[1] ?? (together ? 'nothing' : undefined);
    const seconds = secondsOf(file);
    const found = (open.get(shares) ?? []).find((batch) => batch.seconds + seconds <= MOST_SECONDS);
    if (found) {
      found.files.push(file);
      found.seconds += seconds;
      continue;
    }
    const batch = { files: [file], seconds };
    batches.push(batch);
    if (shares !== undefined) open.set(shares, [...(open.get(shares) ?? []), batch]);
  }
  return batches.sort((a, b) => b.seconds - a.seconds).map((batch) => batch.files);
}
