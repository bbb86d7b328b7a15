// Which test files share a mocha: those that share a server would each start it anew, and for short ones the start of
// mocha is most of the time.

/** Of a file that never ran here. */
const UNKNOWN_SECONDS = 15;
/** What a file begins with an import of, from where it is shared by the files of a mocha. */
const SHARED = /^import .* from '\.\.\/support\/(shared-[a-z]+)\.ts';$/m;

/**
 * Batches of files, the longest first, so that none runs on by itself.
 * @param {readonly string[]} files of one stage
 * @param {{ times: Record<string, number>, textOf(file: string): string, sharing?: number, together?: number }} options
 *   `times`: seconds of each file; `sharing`: seconds of files that share a server, at most, that share a mocha too;
 *   `together`: the same of files that share nothing; 0: each has its own
 * @returns {string[][]}
 */
export function batchesOf(files, { times, textOf, sharing = 0, together = 0 }) {
  const secondsOf = (file) => times[file] ?? UNKNOWN_SECONDS;
  const open = new Map();
  const batches = [];
  for (const file of [...files].sort((a, b) => secondsOf(b) - secondsOf(a))) {
    const server = SHARED.exec(textOf(file))?.[1];
    const most = server === undefined ? together : sharing;
    const seconds = secondsOf(file);
    const others = open.get(server) ?? [];
    const found = others.find((batch) => batch.seconds + seconds <= most);
    if (found) {
      found.files.push(file);
      found.seconds += seconds;
      continue;
    }
    const batch = { files: [file], seconds };
    batches.push(batch);
    open.set(server, [...others, batch]);
  }
  return batches.sort((a, b) => b.seconds - a.seconds).map((batch) => batch.files);
}
