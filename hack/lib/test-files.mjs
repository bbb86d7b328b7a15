// Test files side by side, each in a mocha of its own: most of them wait for processes more than they compute.
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir, node24, root } from './places.mjs';
import { attempt, shortened } from './run.mjs';

/** Files of a stage that run at one time; those of `e2e` share one cluster, those of `alone` measure. */
const LANES = { integration: 2, crash: 2, e2e: 1, alone: 1 };
/** Seconds that each file took last time on this machine: the longest begin first, so that none runs on by itself. */
const timesFile = path.join(cacheDir(), 'test-times.json');

/**
 * Runs every test file of a stage and adds up the counts. `took`: the seconds of each file.
 * @param {string} stage a folder of test/
 * @param {{ env: NodeJS.ProcessEnv, logs: string, limitMs: number, files?: string[] }} options `logs`: for the reports;
 *   `limitMs`: of one file; `files`: these only
 */
export async function runTestFiles(stage, { env, logs, limitMs, files = testFiles(path.join('test', stage)) }) {
  const took = {};
  const total = { passed: 0, failed: 0, skipped: [], failures: [], took };
  const times = readTimes();
  const runOne = async (file) => {
    const start = performance.now();
    const { counts, output } = await runMocha([file], { env, logs, limitMs, inherit: false });
    took[file] = Math.round((performance.now() - start) / 100) / 10;
    console.log(`-- ${file}: ${took[file]} s\n${output.trimEnd()}`);
    add(total, counts);
  };
  const waiting = [...files].sort((a, b) => (times[b] ?? Number.MAX_VALUE) - (times[a] ?? Number.MAX_VALUE));
  const lane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await runOne(file);
  };
  await Promise.all(Array.from({ length: LANES[stage] }, lane));
  // Read again: stages run side by side.
  fs.writeFileSync(timesFile, JSON.stringify({ ...readTimes(), ...took }, undefined, 1));
  if (total.passed + total.failed + total.skipped.length === 0) return failure(`stage ${stage} has no tests`);
  return total;
}

/** Runs the whole stage, or some files of it, in one mocha: for tests of milliseconds, where starting one is what takes time. */
export async function runTogether(stage, { env, logs, limitMs, files = [`test/${stage}/**/*.test.ts`] }) {
  const { counts } = await runMocha(files, { env, logs, limitMs, inherit: true });
  const took = Object.entries(counts.took ?? {}).map(([file, ms]) => [file, Math.round(ms / 100) / 10]);
  return { ...counts, took: Object.fromEntries(took) };
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

let reports = 0;

async function runMocha(specs, { env, logs, limitMs, inherit }) {
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
    inherit,
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
