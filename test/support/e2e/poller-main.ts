/**
 * Reads every narinfo and every NAR of a cache over and over, all bytes of it: `node poller-main.ts URL READERS` in a pod.
 * It is told of paths by POST, and asked what it has seen since it was last asked by GET, at port 8000 of the pod.
 */
import http from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import zlib from 'node:zlib';
import { Agent, fetch } from 'undici';
import { formatHash, sha256 } from '../../../server/nix/index.ts';

/** A path as whoever pushed it knows it. */
export interface KnownPath {
  readonly storePath: string;
  /** `sha256:<nix32>` */
  readonly narHash: string;
}

export interface Seen {
  /** Whole paths that were read, narinfo and NAR, with every hash right. */
  reads: number;
  /** How often every reader has read all paths one after the other, and nothing went wrong. */
  rounds: number;
  /** Connections that could not be made, or ended before a byte of an answer came. */
  unconnected: number;
  /** Everything else that went wrong. */
  failures: number;
  /** Words for the first of those. */
  readonly examples: string[];
}

const PORT = 8000;
const EXAMPLES = 10;
const PAUSE_MS = 20;
/** A connection to an address that has just gone is not refused: nobody answers. */
const CONNECT_MS = 3000;

/** No answer at all. */
class Unconnected extends Error {}

async function main([base = '', readers = '2']: readonly string[]): Promise<void> {
  const paths: KnownPath[] = [];
  const rounds = Array.from({ length: Number(readers) }, () => 0);
  let seen = nothing();
  http
    .createServer(async (request, response) => {
      if (request.method === 'POST') {
        paths.push(...((await json(request)) as KnownPath[]));
        response.end();
        return;
      }
      response.end(JSON.stringify({ ...seen, rounds: Math.min(...rounds) }));
      seen = nothing();
      rounds.fill(0);
    })
    .listen(PORT);
  const read = async (_: number, reader: number) => {
    for (let turn = reader, row = 0; ; turn++) {
      const it = paths[turn % paths.length];
      if (it === undefined) {
        await sleep(PAUSE_MS);
        continue;
      }
      const problem = await readPath(base, it).catch((error: unknown) => error);
      row = problem === undefined ? row + 1 : 0;
      if (row === paths.length) {
        rounds[reader] = (rounds[reader] ?? 0) + 1;
        row = 0;
      }
      if (problem === undefined) seen.reads++;
      else if (problem instanceof Unconnected) {
        seen.unconnected++;
        console.log(new Date().toISOString(), problem.message);
        await sleep(PAUSE_MS);
      } else {
        seen.failures++;
        console.log(new Date().toISOString(), it.storePath, problem);
        if (seen.examples.length < EXAMPLES) seen.examples.push(`${it.storePath}: ${problem}`);
      }
    }
  };
  await Promise.all(rounds.map(read));
}

const dispatcher = new Agent({ connect: { timeout: CONNECT_MS } });

const nothing = (): Seen => ({ reads: 0, rounds: 0, unconnected: 0, failures: 0, examples: [] });

/** Resolves when every byte of it is as it was pushed. */
async function readPath(base: string, { storePath, narHash }: KnownPath): Promise<undefined> {
  const hashPart = storePath.slice('/nix/store/'.length).split('-')[0];
  const narinfo = (await bytesOf(`${base}/${hashPart}.narinfo`)).toString();
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(narinfo)?.[1] ?? '';
  for (const [name, right] of Object.entries({ StorePath: storePath, NarHash: narHash }))
    if (field(name) !== right) throw new Error(`narinfo has ${name} ${field(name)}, not ${right}`);
  const file = await bytesOf(`${base}/${field('URL')}`);
  if (formatHash(sha256(file)) !== field('FileHash')) throw new Error(`${field('URL')} has other bytes than FileHash`);
  const nar = field('Compression') === 'zstd' ? zlib.zstdDecompressSync(file) : file;
  if (formatHash(sha256(nar)) !== narHash) throw new Error(`${field('URL')} has other bytes than NarHash`);
  return undefined;
}

async function bytesOf(url: string): Promise<Buffer> {
  const answer = await fetch(url, { dispatcher }).catch((error: unknown) => {
    throw new Unconnected(String((error as Error).cause ?? error));
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200) throw new Error(`${new URL(url).pathname}: ${answer.status} ${bytes.subarray(0, 200)}`);
  return bytes;
}

await main(process.argv.slice(2));
