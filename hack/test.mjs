// `npm test`: every stage in order, one line of counts at the end.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { runChecks } from './check.mjs';
import { COMPONENTS, ensureComponent, NEEDED_BY_TESTS } from './components.mjs';
import { node24, root } from './lib/places.mjs';
import { attempt } from './lib/run.mjs';
import { secretsInFolder } from './lib/secrets-in-logs.mjs';
import { isSkipped, skipProblem } from './lib/skip.mjs';
import { setUp } from './setup.mjs';

const long = process.argv.includes('--long');
// A stage that hangs fails by itself long before CI gives up without a word.
const STAGE_LIMIT_MS = (long ? 180 : 40) * 60_000;

/** Where tests write the logs of the servers that they start; kept when something failed. */
let logs;

const STAGES = [
  { name: 'check', run: runChecks },
  { name: 'components', run: installComponents },
  { name: 'unit', run: () => runMocha('unit') },
  { name: 'integration', run: () => runMocha('integration') },
  { name: 'crash', needs: 'test/crash', run: () => runMocha('crash') },
  { name: 'logs', run: searchLogs },
];

process.exitCode = await main();

async function main() {
  // tmpfs: tests that mount a small disk, which needs root.
  const problem = skipProblem([...STAGES.map(({ name }) => name), ...Object.keys(COMPONENTS), 'tmpfs']);
  if (problem) {
    console.error(problem);
    return 1;
  }
  try {
    await setUp();
  } catch (error) {
    console.error(`set-up failed: ${error.message}\n\n0 passed, 1 failed, 0 skipped`);
    return 1;
  }
  logs = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-test-'));
  const total = { passed: 0, failed: 0, skipped: 0 };
  const notes = [];
  for (const { name, needs, run } of STAGES) {
    if (needs && !fs.existsSync(path.join(root, needs))) continue;
    if (isSkipped(name)) {
      total.skipped += 1;
      notes.push(`skipped: stage ${name} (NARWHAL_SKIP)`);
      continue;
    }
    console.log(`\n== ${name}`);
    const start = performance.now();
    const { passed, failed, skipped = [] } = await run();
    console.log(`== ${name}: ${Math.round((performance.now() - start) / 1000)} s`);
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped.length;
    if (failed > 0) notes.push(`failed: ${failed} in stage ${name}`);
    notes.push(...skipped.map((title) => `skipped: ${title}`));
  }
  if (total.failed === 0) fs.rmSync(logs, { recursive: true, force: true });
  else notes.push(`logs of the servers: ${logs}`);
  console.log(['', ...notes, `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`].join('\n'));
  return total.failed > 0 ? 1 : 0;
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

async function runMocha(stage) {
  const report = path.join(logs, `${stage}.json`);
  const mocha = path.join(root, 'node_modules/mocha/bin/mocha.js');
  const args = [
    mocha,
    '--forbid-only',
    '--reporter',
    path.join(root, 'hack/mocha-reporter.mjs'),
    '--spec',
    `test/${stage}/**/*.test.ts`,
  ];
  const env = {
    ...process.env,
    UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '32',
    NARWHAL_TEST_LOGS: logs,
    NARWHAL_MOCHA_REPORT: report,
    ...(long ? { NARWHAL_LONG: '1' } : {}),
  };
  const result = await attempt(node24, args, { cwd: root, env, inherit: true, timeoutMs: STAGE_LIMIT_MS });
  if (!fs.existsSync(report)) return failure(`stage ${stage} ended without a result (${result.reason})`);
  const counts = JSON.parse(fs.readFileSync(report, 'utf8'));
  if (counts.passed + counts.failed + counts.skipped.length === 0) return failure(`stage ${stage} has no tests`);
  if (!result.ok && counts.failed === 0) {
    console.log(`stage ${stage} did not end well: ${result.reason}`);
    counts.failed = 1;
  }
  return counts;
}

/** No token, key or signed URL may be in any line that any server of this run has logged. */
function searchLogs() {
  const { files, found } = secretsInFolder(logs);
  if (isSkipped('integration') || isSkipped('crash')) {
    if (files === 0) return { passed: 0, failed: 0, skipped: ['secrets in logs (no server has run)'] };
  } else if (files === 0) return failure('no server has left a log: nothing was searched');
  for (const line of found.slice(0, 20)) console.log(`  FAILED ${line}`);
  console.log(`  ${found.length === 0 ? 'ok    ' : 'FAILED'} secrets in the logs of ${files} servers: ${found.length}`);
  return { passed: found.length === 0 ? 1 : 0, failed: found.length === 0 ? 0 : 1 };
}

function failure(text) {
  console.log(text);
  return { passed: 0, failed: 1 };
}
