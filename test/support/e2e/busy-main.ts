// Clients in a pod that push and pull through whatever happens, as withRetries as a job in CI: a line of JSON for each
// thing that was acknowledged, came back whole, had to be tried again, or is lost. Ends when /tmp/stop is there.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatHash, sha256 } from '../../../server/nix/index.ts';
import { CachixClient } from '../cachix-client.ts';
import { type Pushable, pushable } from '../cachix-paths.ts';

export type Deed = 'pushed' | 'pulled' | 'waited' | 'lost' | 'gave up';

export interface BusyLine {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly did: Deed;
  readonly storePath?: string;
  readonly narHash?: string;
  readonly text?: string;
}

const { HOST = '', CACHE = '', PULL = '', TOKEN_FILE = '', BYTES = '3000' } = process.env;
/** More than any fault of a story lasts. */
const PATIENCE_MS = 180_000;
const ONE_ANSWER_MS = 10_000;
const PUSH_PAUSE_MS = 200;
const PULL_PAUSE_MS = 100;

const acknowledged: Pushable[] = [];
const isOver = () => fs.existsSync('/tmp/stop');
const say = (did: Deed, rest: Omit<BusyLine, 'at' | 'did'> = {}) =>
  console.log(JSON.stringify({ at: Date.now(), did, ...rest } satisfies BusyLine));

/** A server that is back is noticed so soon. */
const MOST_PAUSE_MS = 5000;
/** cachix begins a path anew that it could not push in a minute and a half, so many times in all. */
const ROUNDS = 4;

async function push(): Promise<void> {
  const delay = async (ms: number) => {
    say('waited', { text: 'push' });
    await sleep(Math.min(ms, MOST_PAUSE_MS));
  };
  const token = fs.readFileSync(TOKEN_FILE, 'utf8').trim();
  const client = new CachixClient({ host: HOST, cache: CACHE, token, chunkSize: 1 << 20, delay });
  while (!isOver()) {
    const it = await pushable({ contents: randomBytes(Number(BYTES)) });
    for (let left = ROUNDS; left > 0; left--) {
      try {
        await client.push([it]);
        acknowledged.push(it);
        say('pushed', { storePath: it.storePath, narHash: it.claim.cNarHash });
        break;
      } catch (error) {
        say(left > 1 ? 'waited' : 'gave up', { text: String(error) });
      }
    }
    await sleep(PUSH_PAUSE_MS);
  }
  client.close();
}

async function pull(): Promise<void> {
  while (!isOver()) {
    const it = acknowledged[Math.floor(Math.random() * acknowledged.length)];
    if (it) await pullOne(it);
    await sleep(PULL_PAUSE_MS);
  }
}

async function pullOne({ storePath, hashPart }: Pushable): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const problem = await attempt(hashPart).catch((error: Error) => `${error.message} ${error.cause ?? ''}`);
    if (problem === undefined) return say('pulled', { storePath });
    // Neither is an answer that any client asks again for.
    if (/^(404|wrong)/.test(problem)) return say('lost', { storePath, text: problem });
    if (performance.now() > end) return say('gave up', { storePath, text: problem });
    say('waited', { text: problem });
    await sleep(500);
  }
}

/** What is wrong; undefined: nothing. */
async function attempt(hashPart: string): Promise<string | undefined> {
  const get = (path: string) => fetch(`${PULL}/${path}`, { signal: AbortSignal.timeout(ONE_ANSWER_MS) });
  const narinfo = await get(`${hashPart}.narinfo`);
  const text = await narinfo.text();
  if (narinfo.status !== 200) return `${narinfo.status} narinfo`;
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1];
  const nar = await get(field('URL') ?? '');
  const bytes = Buffer.from(await nar.arrayBuffer());
  if (nar.status !== 200) return `${nar.status} NAR`;
  return formatHash(sha256(bytes)) === field('FileHash') ? undefined : 'wrong bytes';
}

await Promise.all([push(), pull(), pull()]);
