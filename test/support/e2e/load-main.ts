/**
 * Load in a pod, by clients of Cachix's protocol that repeat what fails as those do: `node load-main.ts HOST CACHE`, token
 * in the file of TOKEN_FILE. It tells how far it is in /tmp/progress, ends once there is /tmp/stop, and prints a Told.
 */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatHash, sha256 } from '../../../server/nix/index.ts';
import { Load } from '../load.ts';
import type { KnownPath } from './poller-main.ts';

export interface Told {
  readonly acknowledged: readonly KnownPath[];
  readonly downloads: number;
  readonly failures: readonly string[];
}

/** Of another machine's load not much is left for the pods of a small one. */
const PAUSE_MS = 200;

async function main([host = '', cache = '']: readonly string[]): Promise<void> {
  const token = fs.readFileSync(process.env.TOKEN_FILE ?? '', 'utf8');
  const pull = `${host}/api/v1/cache/${cache}`;
  const load = await Load.start({ push: { host, token }, pull, cache, pushers: 1, pullers: 2, pauseMs: PAUSE_MS });
  while (!fs.existsSync('/tmp/stop')) {
    fs.writeFileSync('/tmp/progress', `${load.downloads}`);
    await sleep(PAUSE_MS);
  }
  await load.stop().catch((error: unknown) => load.failures.push(String(error)));
  const acknowledged = load.acknowledged.map(({ storePath, nar }) => ({ storePath, narHash: formatHash(sha256(nar)) }));
  const told: Told = { acknowledged, downloads: load.downloads, failures: load.failures };
  console.log(JSON.stringify(told));
}

await main(process.argv.slice(2));
