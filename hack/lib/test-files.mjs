// Test files side by side, in several mochas: most of them wait for processes more than they compute.
import fs from 'node:fs';
import path from 'node:path';
import { batchesOf } from './batches.mjs';
import { cacheDir, node24, root } from './places.mjs';
import { attempt, shortened } from './run.mjs';

/** How a stage runs: mochas at one time, and the seconds of tests in one; see batchesOf(). */
const STAGES = {
  unit: { lanes: 2, together: 30 },
  integration: { lanes: 2, sharing: 120, together: 20 },
  crash: { lanes: 2 },
  e2e: { lanes: 1 },
  alone: { lanes: 1 },
};
/** Seconds that each file took last time on this machine. */
const timesFile = path.join(cacheDir(), 'test-times.json');

/**
 * Runs every test file of a stage and adds up the counts. `took`: the seconds of each file.
 * @param {string} stage a folder of test/
 * @param {{ env: NodeJS.ProcessEnv, logs: string, limitMs: number, files?: string[], lanes?: NodeJS.ProcessEnv[],
 *   more?: Promise<unknown> }} options `logs`: for the reports; `limitMs`: of one mocha; `files`: these only; `lanes`: what
 *   each lane has in its environment; `more`: from then on the machine has room for twice as many lanes
 */
export async function runTestFiles(stage, options) {
  const { env, logs, limitMs, files = testFiles(path.join('test', stage)), lanes, more } = options;
  const took = {};
  const total = { passed: 0, failed: 0, skipped: [], failures: [], took };
  const textOf = (file) => fs.readFileSync(path.join(root, file), 'utf8');
  const { lanes: count, ...seconds } = STAGES[stage];
  const waiting = batchesOf(files, { times: readTimes(), textOf, ...seconds });
  const runOne = async (batch, own) => {
    const start = performance.now();
    const { counts, output } = await runMocha(batch, { env: { ...env, ...own }, logs, limitMs });
    const what = batch.length > 5 ? `${batch.length} files of ${stage}` : batch.join(' ');
    console.log(`-- ${what}: ${inSeconds(performance.now() - start)} s\n${output.trimEnd()}`);
    for (const [file, ms] of Object.entries(counts.took ?? {})) took[file] = inSeconds(ms);
    add(total, counts);
  };
  const lane = async (own) => {
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) await runOne(batch, own);
  };
  const runLanes = () => Promise.all((lanes ?? Array.from({ length: count }, () => ({}))).map(lane));
  const first = runLanes();
  // Those that come later find nothing to do where the first ones have ended before them.
  await Promise.all([first, more && Promise.race([first, more]).then(runLanes)]);
  // Read again: stages run side by side.
  fs.writeFileSync(timesFile, JSON.stringify({ ...readTimes(), ...took }, undefined, 1));
  if (total.passed + total.failed + total.skipped.length === 0) return failure(`stage ${stage} has no tests`);
  return total;
}

/** The files that took longest, as lines for people. @param {Record<string, number>} took seconds by file */
export function slowest(took, most = 10) {
  const lines = Object.entries(took)
    .sort(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([file, seconds]) => `${seconds.toFixed(1).padStart(8)} s  ${file}`);
  return lines.length === 0 ? [] : [`the slowest ${lines.length} test files:`, ...lines];
}

/** What failed, for the end of a run, since what was printed before is long and often cut off where it is kept. */
export function summary(failures) {
  return failures.flatMap((text) => ['', `FAILED ${shortened(text)}`]);
}

/** A stage, or a file, that came to no result. */
export function failure(text) {
  console.log(text);
  return { passed: 0, failed: 1, skipped: [], failures: [text] };
}

function inSeconds(ms) {
  return Math.round(ms / 100) / 10;
}

let reports = 0;

async function runMocha(specs, { env, logs, limitMs }) {
  reports += 1;
  const report = path.join(logs, `report-${reports}.json`);
  const args = [
    path.join(root, 'node_modules/mocha/bin/mocha.js'),
    ...['--forbid-only', '--reporter', path.join(root, 'hack/mocha-reporter.mjs')],
    ...specs.flatMap((spec) => ['--spec', spec]),
  ];
  const result = await attempt(node24, args, {
    cwd: root,
    env: { ...env, NARWHAL_MOCHA_REPORT: report },
    timeoutMs: limitMs,
  });
  const what = specs.join(' ');
  const { output } = result;
  if (!fs.existsSync(report)) return { counts: failure(`${what} ended without a result (${result.reason})`), output };
  const counts = JSON.parse(fs.readFileSync(report, 'utf8'));
  if (counts.passed + counts.failed + counts.skipped.length === 0)
    return { counts: failure(`${what} has no tests`), output };
  if (!result.ok && counts.failed === 0) {
    console.log(`${what} did not end well: ${result.reason}`);
    counts.failed = 1;
    counts.failures = [`${what} did not end well: ${result.reason}`];
  }
  return { counts, output };
}

function testFiles(folder) {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => path.join(folder, name))
    .sort();
}

function add(total, { passed, failed, skipped, failures }) {
  total.passed += passed;
  total.failed += failed;
  total.skipped.push(...skipped);
  total.failures.push(...failures);
}

function readTimes() {
  try {
    return JSON.parse(fs.readFileSync(timesFile, 'utf8'));
  } catch {
    // Never run here, or the file is broken: the order is all that it is for.
    return {};
  }
}
