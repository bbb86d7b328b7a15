/**
 * Pushes new paths as the Cachix client does, from a pod: `cachix-push.ts HOST CACHE [COUNT]`, the token in
 * CACHIX_AUTH_TOKEN. Prints the name of each path; they refer to the ones before, so that the last has all in its closure.
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CachixClient } from '../cachix-client.ts';
import { type Pushable, pushable } from '../cachix-paths.ts';

const [host = '', cache = '', count = '2'] = process.argv.slice(2);
/** The original waits for seconds between attempts. */
const MOST_DELAY_MS = 200;
const delay = (ms: number) => sleep(Math.min(ms, MOST_DELAY_MS));
const client = new CachixClient({ host, cache, token: process.env.CACHIX_AUTH_TOKEN ?? '', delay });
const paths: Pushable[] = [];
for (let index = 0; index < Number(count); index++) {
  const references = paths.map(({ storePath }) => path.basename(storePath));
  paths.push(await pushable({ name: `pushed-${index}`, contents: randomBytes(20_000), references }));
}
try {
  // One after the other: a path is published only once those that it refers to are.
  for (const it of paths) await client.push([it]);
  for (const { storePath } of paths) console.log(storePath);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
client.close();
