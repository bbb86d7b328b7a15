/** What a Cachix client asks before every push: which of these 10 000 paths do you not have? */
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { encodeNix32 } from '../../../server/nix/index.ts';
import type { Bench } from '../bench.ts';
import { somePaths } from '../million.ts';
import { metric, type Narwhal, startNarwhal } from '../processes.ts';
import { timed } from '../push.ts';
import { atMost, number, quantile, type Row } from '../report.ts';
import { untilLoaded } from './million.ts';

const HASHES = 10_000;
const QUERIES = 50;
const WANTED_MS = { most: 20, aim: 10 };

export async function missingQuery(bench: Bench): Promise<Row[]> {
  const folder = await bench.million();
  const half = Math.min(HASHES / 2, bench.millionCount / 2);
  const present = somePaths(folder, half);
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  await untilLoaded(narwhal, bench.millionCount);
  const agent = new http.Agent({ keepAlive: true });
  const { narwhal: seen } = await bench.compare({
    narwhal: async () => {
      const times: number[] = [];
      for (let query = 0; query < QUERIES; query++) {
        const absent = Array.from({ length: half }, () => encodeNix32(randomBytes(20)));
        // Present and absent by turns, as a processor that guesses branches likes least.
        const body = Buffer.from(JSON.stringify(present.flatMap((hash, index) => [hash, absent[index]])));
        let answer = '';
        const seconds = await timed(async () => {
          answer = await ask(agent, narwhal, body);
        });
        times.push(seconds * 1000);
        const count = (JSON.parse(answer) as unknown[]).length;
        if (count !== half) throw new Error(`${count} hashes are said to be missing, not ${half}`);
      }
      return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
    },
  });
  const paths = await metric(narwhal, 'narwhal_paths');
  agent.destroy();
  await bench.end(narwhal);
  const p50Ms = seen.p50Ms ?? Number.NaN;
  return [
    {
      what: 'missing-query, p50 ms',
      ours: p50Ms,
      wanted: atMost(p50Ms, WANTED_MS.most, WANTED_MS.aim),
      note: `p99 ${number(seen.p99Ms)} ms; ${2 * half} hashes, ${paths} paths`,
    },
  ];
}

function ask(agent: http.Agent, narwhal: Narwhal, body: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request(`${narwhal.url}/api/v1/cache/main/narinfo`, {
      method: 'POST',
      agent,
      headers: {
        Authorization: `Bearer ${narwhal.token}`,
        'Content-Type': 'application/json',
        'Content-Length': body.length,
      },
    });
    request.on('error', reject);
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    request.end(body);
  });
}
