// A user's `cachix push` in a pod: random paths, and a line of JSON for each one that the cache has acknowledged.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CachixClient } from '../cachix-client.ts';
import { pushable } from '../cachix-paths.ts';

const { HOST = '', CACHE = '', TOKEN_FILE = '', COUNT = '1', BYTES = '1000', CHUNK_BYTES } = process.env;
const MOST_DELAY_MS = 500;
const client = new CachixClient({
  host: HOST,
  cache: CACHE,
  token: fs.readFileSync(TOKEN_FILE, 'utf8').trim(),
  // The original waits longer between its attempts.
  delay: (ms) => sleep(Math.min(ms, MOST_DELAY_MS)),
  ...(CHUNK_BYTES && { chunkSize: Number(CHUNK_BYTES) }),
});
const paths = await Promise.all(
  Array.from({ length: Number(COUNT) }, () => pushable({ contents: randomBytes(Number(BYTES)) })),
);
const pushed = new Set(await client.push(paths));
client.close();
for (const { hashPart, storePath, claim } of paths)
  if (pushed.has(hashPart)) console.log(JSON.stringify({ storePath, narHash: claim.cNarHash }));
