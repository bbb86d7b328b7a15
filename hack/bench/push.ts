/** Pushers by both protocols, and what they have in common. */
import { createReadStream } from 'node:fs';
import http from 'node:http';
import { pipeline } from 'node:stream/promises';
import { CachixClient } from '../../test/support/cachix-client.ts';
import { type BenchPath, cachixPath } from './data.ts';
import type { Narwhal } from './processes.ts';

type AnyPath = BenchPath<Buffer | string>;

/** Paths at one time, as the Cachix client has them. */
export const IN_FLIGHT = 8;

/** Acknowledged once every path is published. */
export type Push = (narwhal: Narwhal, paths: readonly AnyPath[], jobs?: number) => Promise<void>;

export const pushByCachix: Push = async (narwhal, paths, jobs = IN_FLIGHT) => {
  const client = new CachixClient({ host: narwhal.url, cache: 'main', token: narwhal.token, jobs });
  const pushed = await client.push(paths.map(cachixPath));
  client.close();
  if (pushed.length !== paths.length) throw new Error(`${pushed.length} of ${paths.length} paths were pushed`);
};

/** As `nix copy` does once it knows that a path is missing: the NAR, then the narinfo. */
export const pushByPut: Push = async (narwhal, paths, jobs = IN_FLIGHT) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: jobs });
  const base = `${narwhal.url}/push`;
  const headers = { Authorization: `Bearer ${narwhal.token}` };
  const put = (address: string, size: number, body: Buffer | string, isFile: boolean) =>
    new Promise<void>((resolve, reject) => {
      const request = http.request(`${base}/${address}`, {
        method: 'PUT',
        agent,
        headers: { ...headers, 'Content-Length': size },
      });
      request.on('error', reject);
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`PUT ${address}: ${response.statusCode} ${text}`));
        });
      });
      if (isFile) pipeline(createReadStream(body, { highWaterMark: 2 ** 18 }), request).catch(reject);
      else request.end(body);
    });
  await inFlight(paths, jobs, async (it) => {
    await put(it.narUrl, it.fileSize, it.file, typeof it.file === 'string');
    await put(`${it.hashPart}.narinfo`, Buffer.byteLength(it.narinfo), it.narinfo, false);
  });
  agent.destroy();
};

/** Works on all items, `limit` at a time. */
export async function inFlight<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const entries = items.entries();
  await Promise.all(
    Array.from({ length: limit }, async () => {
      for (const [index, item] of entries) await work(item, index);
    }),
  );
}

/** Seconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
