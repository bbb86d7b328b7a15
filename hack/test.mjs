// `npm test`: every stage in order, one line of counts at the end. `npm test -- --since REV`: the test files that what has
// changed since can reach.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { runChecks } from './check.mjs';
import { COMPONENTS, ensureComponent, NEEDED_BY_TESTS } from './components.mjs';
import { runStories } from './e2e.mjs';
import { Reach } from './lib/affected.mjs';
import { buildServer } from './lib/build.mjs';
import { changesSince } from './lib/changed-files.mjs';
import { secretsInFolder } from './lib/secrets-in-logs.mjs';
import { isSkipped, skipProblem } from './lib/skip.mjs';
import { failure, runTestFiles, slowest, summary } from './lib/test-files.mjs';
import { setUp } from './setup.mjs';

const USAGE = 'usage: npm test [-- --since REVISION]; npm run test:long';
const { long, since, isWrong } = flagsOf(process.argv.slice(2));
// What hangs fails by itself long before CI gives up without a word.
const LIMIT_MS = (long ? 180 : 15) * 60_000;

/** Where tests write the logs of the servers that they start; kept when something failed. */
let logs;

/** The only test files to run; undefined: all. */
let chosen;

/** In order; those of one line side by side, because they wait for different things. */
const STAGES = [
  [{ name: 'check', run: runChecks }],
  // On a fresh machine components are compiled for minutes.
  [
    { name: 'components', run: installComponents },
    { name: 'unit', run: () => runTestFiles('unit', testOptions('unit')) },
  ],
  // Stories on the cluster wait for pods, and each does to the cluster what it likes: one at a time.
  [
    {
      name: 'integration',
      run: (others) => runTestFiles('integration', { ...testOptions('integration'), more: others }),
    },
    { name: 'e2e', run: () => runStories(testOptions('e2e')) },
  ],
  [{ name: 'crash', run: () => runTestFiles('crash', testOptions('crash')) }],
  // They measure memory, which a neighbour would disturb.
  [{ name: 'alone', run: () => runTestFiles('alone', testOptions('alone')) }],
  [{ name: 'logs', run: searchLogs }],
];
const NAMES = STAGES.flat().map(({ name }) => name);

process.exitCode = await main();

async function main() {
  // tmpfs: tests that mount a small disk, which needs root.
  const problem = skipProblem([...NAMES, ...Object.keys(COMPONENTS), 'tmpfs']);
  if (problem ?? isWrong) {
    console.error(problem ?? USAGE);
    return 1;
  }
  try {
    await setUp();
    buildServer();
  } catch (error) {
    console.error(`set-up failed: ${error.message}\n\n0 passed, 1 failed, 0 skipped`);
    return 1;
  }
  logs = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-test-'));
  const total = { passed: 0, failed: 0, skipped: 0 };
  const notes = [];
  const took = {};
  const failures = [];
  if (since !== undefined) {
    try {
      notes.push(choose(await changesSince(since)));
    } catch (error) {
      console.error(`${error.message}\n\n0 passed, 1 failed, 0 skipped`);
      return 1;
    }
    console.log(notes[0]);
  }
  for (const group of STAGES) {
    const stages = group.filter(({ name }) => !isSkipped(name) && isChosen(name));
    for (const { name } of group.filter(({ name }) => isSkipped(name))) {
      total.skipped += 1;
      notes.push(`skipped: stage ${name} (NARWHAL_SKIP)`);
    }
    const running = [];
    // The first one takes what the others leave of the machine once they have ended.
    for (const stage of stages.toReversed()) running.unshift(runStage(stage, Promise.all(running)));
    const results = await Promise.all(running);
    for (const { name, passed, failed, skipped = [], took: ofStage = {}, failures: ofThis = [] } of results) {
      Object.assign(took, ofStage);
      failures.push(...ofThis);
      total.passed += passed;
      total.failed += failed;
      total.skipped += skipped.length;
      if (failed > 0) notes.push(`failed: ${failed} in stage ${name}`);
      notes.push(...skipped.map((title) => `skipped: ${title}`));
    }
  }
  if (total.failed === 0) fs.rmSync(logs, { recursive: true, force: true });
  else notes.push(`logs of the servers: ${logs}`);
  console.log(
    [
      '',
      ...slowest(took),
      ...summary(failures),
      '',
      ...notes,
      `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`,
    ].join('\n'),
  );
  return total.failed > 0 ? 1 : 0;
}

async function runStage({ name, run }, others) {
  console.log(`\n== ${name}`);
  const start = performance.now();
  const counts = await Promise.resolve()
    .then(() => run(others))
    .catch((error) => failure(error.stack));
  console.log(`== ${name}: ${Math.round((performance.now() - start) / 1000)} s`);
  return { name, ...counts };
}

/** What the integration tests need is fetched before them, so that no test's time limit pays for a download. */
async function installComponents() {
  const counts = { passed: 0, failed: 0, skipped: [] };
  for (const name of NEEDED_BY_TESTS) {
    if (isSkipped(name) || isSkipped('integration')) {
      counts.skipped.push(`component ${name} (NARWHAL_SKIP)`);
      continue;
    }
    try {
      console.log(`  ok     ${name}: ${await ensureComponent(name)}`);
      counts.passed += 1;
    } catch (error) {
      console.log(`  FAILED ${name}: ${error.message}`);
      counts.failed += 1;
    }
  }
  return counts;
}

/** Leaves out the test files that no change leads to; says how many, and why. */
function choose(changes) {
  const { tests, all, because } = new Reach(changes.files, changes.textOf).tests(changes.changed);
  chosen = tests;
  const what = `--since ${since}: ${changes.changed.length} changed files, ${tests.length} of ${all.length} test files run`;
  if (because !== undefined) return `${what}, since ${because}`;
  return `${what}; left out are those that lead to none of the changed files, by import or by a name in them`;
}

/** Whether a stage has anything to do. */
function isChosen(stage) {
  if (chosen === undefined || stage === 'check') return true;
  const withServers = chosen.some((file) => !file.startsWith('test/unit/'));
  if (stage === 'components' || stage === 'logs') return withServers;
  return chosen.some((file) => file.startsWith(`test/${stage}/`));
}

function flagsOf(args) {
  const flags = { long: false, since: undefined, isWrong: false };
  for (let arg = args.shift(); arg !== undefined; arg = args.shift()) {
    if (arg === '--long') flags.long = true;
    else if (arg === '--since' && args.length > 0) flags.since = args.shift();
    else if (arg.startsWith('--since=')) flags.since = arg.slice('--since='.length);
    else flags.isWrong = true;
  }
  return flags;
}

/** What tests find in their environment, and which files of a stage they are. */
function testOptions(stage) {
  const env = {
    ...process.env,
    UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '32',
    NARWHAL_TEST_LOGS: logs,
    // See test/support/built.ts.
    NARWHAL_BUILT: '1',
    // Some hundred processes load the same files, which takes them half of their start.
    NODE_COMPILE_CACHE: path.join(logs, 'compiled'),
    ...(long ? { NARWHAL_LONG: '1' } : {}),
  };
  const files = chosen?.filter((file) => file.startsWith(`test/${stage}/`));
  return { env, logs, limitMs: LIMIT_MS, ...(files && { files }) };
}

/** No token, key or signed URL may be in any line that any server of this run has logged. */
function searchLogs() {
  const { files, found } = secretsInFolder(logs);
  // A few files may have started none.
  if (files === 0 && chosen !== undefined) return { passed: 0, failed: 0 };
  if (['integration', 'e2e', 'crash', 'alone'].some(isSkipped)) {
    if (files === 0) return { passed: 0, failed: 0, skipped: ['secrets in logs (no server has run)'] };
  } else if (files === 0) return failure('no server has left a log: nothing was searched');
  for (const line of found.slice(0, 20)) console.log(`  FAILED ${line}`);
  console.log(`  ${found.length === 0 ? 'ok    ' : 'FAILED'} secrets in the logs of ${files} servers: ${found.length}`);
  return { passed: found.length === 0 ? 1 : 0, failed: found.length === 0 ? 0 : 1 };
}
