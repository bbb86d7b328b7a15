/** Resident memory: of a server that nobody uses, and of one that takes in a gibibyte at once. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { CachixHttp } from '../../../test/support/cachix-http.ts';
import type { Bench, Sample } from '../bench.ts';
import { memoryOf, type Narwhal, startNarwhal } from '../processes.ts';
import { inFlight } from '../push.ts';
import { atMost, number, type Row } from '../report.ts';

const UPLOADS = 32;
const PART_BYTES = 32 * 2 ** 20;
const IDLE_MB = { most: 120, aim: 90 };
const BUSY_MB = { most: 300, aim: 200 };
/** After a start; long enough for what it does in the background. */
const SETTLE_MS = 3000;

export async function memory(bench: Bench): Promise<Row[]> {
  const part = await firstPart(bench);
  const { narwhal: seen } = await bench.compare({ narwhal: () => look(bench, part) });
  const [idle, peak] = [seen.idleMb ?? Number.NaN, seen.peakMb ?? Number.NaN];
  return [
    { what: 'memory, idle RSS, MB', ours: idle, wanted: atMost(idle, IDLE_MB.most, IDLE_MB.aim) },
    {
      what: 'memory, peak RSS, MB',
      ours: peak,
      wanted: atMost(peak, BUSY_MB.most, BUSY_MB.aim),
      note: `${UPLOADS} parts of ${number(part.length / 2 ** 20)} MiB at one time`,
    },
  ];
}

/** The beginning of a real NAR: a server that looks into parts as they come has something to look at. */
async function firstPart(bench: Bench): Promise<Buffer> {
  const { zstd } = await bench.big();
  const file = await open(zstd.file);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(PART_BYTES), 0, PART_BYTES, 0);
  await file.close();
  return buffer.subarray(0, bytesRead);
}

async function look(bench: Bench, part: Buffer): Promise<Sample> {
  const folder = bench.newFolder('memory');
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  await wait(SETTLE_MS);
  const idleMb = memoryOf(narwhal.pid).rssMb;
  await uploadParts(narwhal, part);
  const { peakMb } = memoryOf(narwhal.pid);
  await bench.end(narwhal);
  bench.remove(folder);
  return { idleMb, peakMb };
}

/** One part each of many uploads, all sent at once. */
async function uploadParts(narwhal: Narwhal, part: Buffer): Promise<void> {
  const client = new CachixHttp();
  const api = `${narwhal.url}/api/v1/cache/main/multipart-nar`;
  const identity = ['Authorization', `Bearer ${narwhal.token}`];
  const md5 = createHash('md5').update(part).digest('base64');
  const post = async (url: string, value?: unknown): Promise<Record<string, string>> => {
    const body = value === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value));
    const headers = ['Content-Type', 'application/json', ...identity];
    const reply = await client.send({ method: 'POST', url, headers, body });
    if (reply.status !== 200) throw new Error(`${url}: ${reply.status} ${reply.body}`);
    return JSON.parse(reply.body.toString());
  };
  const urls: string[] = [];
  for (let upload = 0; upload < UPLOADS; upload++) {
    const { narId, uploadId } = await post(`${api}?compression=zst`);
    const { uploadUrl } = await post(`${api}/${narId}?uploadId=${uploadId}&partNumber=1`, { contentMD5: md5 });
    urls.push(uploadUrl ?? '');
  }
  await inFlight(urls, UPLOADS, async (url) => {
    const headers = ['Content-Type', 'application/octet-stream', 'Content-MD5', md5];
    const reply = await client.send({ method: 'PUT', url, headers, body: part });
    if (reply.status !== 200) throw new Error(`part: ${reply.status} ${reply.body}`);
  });
  client.close();
}
