// `npm run test:e2e -- [--keep] [FILE...]`: users' stories on a cluster of their own, or on the one that is there.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheDir, node24, root } from './lib/places.mjs';
import { savePodLogs } from './lib/pod-logs.mjs';
import { attempt, CommandError } from './lib/run.mjs';
import { isSkipped } from './lib/skip.mjs';
import { failure, runTestFiles } from './lib/test-files.mjs';
import { setUp } from './setup.mjs';

/** What hangs fails by itself. */
const FILE_MS = 15 * 60_000;
const USAGE = `usage: npm run test:e2e -- [--keep] [FILE...]

Runs the stories of test/e2e, all or the named ones, on a cluster that is started for them and removed afterwards.
--keep leaves it running for the next time. NARWHAL_CLUSTER_FOLDER names another place for it, so that several can be
side by side. USE_EXISTING_CLUSTER=true takes the cluster of KUBECONFIG, which needs the images (npm run cluster:load).`;

/**
 * Runs stories and adds up the counts: side by side where there are enough, each lane on a cluster of its own, since
 * stories do to a cluster what they like.
 * @param {{ env: NodeJS.ProcessEnv, logs: string, files?: string[], keep?: boolean }} options
 */
export async function runStories({ env, logs, files, keep = false }) {
  const existing = env.USE_EXISTING_CLUSTER === 'true';
  if (existing || isSkipped('cluster')) return runTestFiles('e2e', { env, logs, files, limitMs: FILE_MS });
  const first = path.resolve(env.NARWHAL_CLUSTER_FOLDER ?? path.join(cacheDir(), 'cluster', `e2e-${process.pid}`));
  const isOne = keep || env.NARWHAL_CLUSTER_FOLDER !== undefined || files?.length === 1;
  const folders = isOne ? [first] : [first, `${first}-b`];
  const lanes = folders.map((folder) => ({ NARWHAL_CLUSTER: 'own', NARWHAL_CLUSTER_FOLDER: folder }));
  await removeLeftovers(path.dirname(first));
  const counts = await onClusters(lanes, { env, logs, files }).catch((error) => {
    for (const folder of folders) saveLogs(path.join(folder, 'log'), path.join(logs, path.basename(folder)));
    return failure(error.message);
  });
  for (const folder of folders) savePodLogs(path.join(folder, 'pods'), logs);
  if (keep) return counts;
  for (const lane of lanes) {
    // What the stories came to stands, however a cluster ends.
    const end = await cluster('down', { ...env, ...lane }).catch((error) => failure(error.message));
    counts.failed += end?.failed ?? 0;
    counts.failures.push(...(end?.failures ?? []));
  }
  return counts;
}

async function onClusters(lanes, { env, logs, files }) {
  for (const lane of lanes) {
    await cluster('up', { ...env, ...lane });
    await cluster('load', { ...env, ...lane });
  }
  return runTestFiles('e2e', { env, logs, files, limitMs: FILE_MS, lanes });
}

async function cluster(command, env) {
  const main = path.join(root, 'hack/cluster/main.ts');
  const result = await attempt(node24, [main, command], { env, inherit: true });
  if (!result.ok) throw new CommandError(`cluster:${command}`, result);
}

/** Clusters of runs that were killed: their folders say whose they were. */
async function removeLeftovers(parent) {
  for (const name of fs.existsSync(parent) ? fs.readdirSync(parent) : []) {
    const pid = /^e2e-(\d+)(?:-b)?$/.exec(name)?.[1];
    if (pid && !fs.existsSync(`/proc/${pid}`)) {
      const env = { ...process.env, NARWHAL_CLUSTER: 'own', NARWHAL_CLUSTER_FOLDER: path.join(parent, name) };
      await cluster('down', env).catch((error) => console.error(error.message));
    }
  }
}

function saveLogs(from, to) {
  if (fs.existsSync(from)) fs.cpSync(from, to, { recursive: true });
}

async function main(args) {
  const files = args.filter((arg) => !arg.startsWith('-'));
  const flags = args.filter((arg) => arg.startsWith('-'));
  if (flags.some((flag) => flag !== '--keep')) {
    console.error(USAGE);
    return flags.includes('--help') ? 0 : 2;
  }
  await setUp();
  const logs = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-e2e-'));
  const keep = flags.includes('--keep');
  const env = { ...process.env, NARWHAL_TEST_LOGS: logs, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '32' };
  if (keep) env.NARWHAL_CLUSTER_FOLDER ??= path.join(cacheDir(), 'cluster/e2e');
  const { passed, failed, skipped } = await runStories({ env, logs, keep, ...(files.length > 0 && { files }) });
  if (failed === 0) fs.rmSync(logs, { recursive: true, force: true });
  else console.log(`logs: ${logs}`);
  console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`);
  return failed > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = await main(process.argv.slice(2));
