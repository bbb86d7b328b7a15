/**
 * Uploads of one path in any interleaving: attempts at its parts that send the right bytes, or other ones under the right
 * MD5, or others altogether, by halves, at the same time, on any server; completions, aborts, restarts. Whatever comes of
 * it, what is published has the bytes of its FileHash, and a client that does it right gets through afterwards.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { BinaryCache, Caches } from '../../server/cache/index.ts';
import { parseNarInfoCreate } from '../../server/cache/index.ts';
import { answerOf } from '../../server/http/errors.ts';
import { formatHash, sha256 } from '../../server/nix/index.ts';
import { Feed, FeedError, type Sending } from './feed.ts';
import { makePath, narInfoCreate, type TestPath } from './nars.ts';
import { PartAttempt } from './part-attempt.ts';

const KIB = 1024;

/** What an attempt sends: the part; half of it and then other bytes; other bytes under their own MD5. */
export type Content = 'right' | 'turning' | 'other';

export type Step = { readonly server: number; readonly turns: number } & (
  | { readonly do: 'attempt'; readonly part: number; readonly content: Content; readonly bytes: number }
  | { readonly do: 'send' | 'end' | 'break'; readonly attempt: number }
  | { readonly do: 'complete' | 'abort' | 'begin' | 'restart' }
);

const common = { server: fc.nat({ max: 1 }), turns: fc.constantFrom(0, 1, 3, 10) };

/** Steps in an order that gets somewhere now and then. */
export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        ...common,
        do: fc.constant('attempt' as const),
        part: fc.nat({ max: 3 }),
        content: fc.constantFrom<Content>('right', 'right', 'right', 'turning', 'other'),
        bytes: fc.integer({ min: 1, max: 600 * KIB }),
      }),
    },
    {
      weight: 16,
      arbitrary: fc.record({
        ...common,
        do: fc.constantFrom('send' as const, 'send' as const, 'end' as const, 'end' as const, 'break' as const),
        attempt: fc.nat({ max: 7 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ ...common, do: fc.constant('complete' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({ ...common, do: fc.constantFrom('abort' as const, 'begin' as const, 'restart' as const) }),
    },
  ),
  { minLength: 10, maxLength: 60 },
);

export interface WorldInit {
  /** Servers of one cache `main`, and how one is started again. */
  readonly servers: Caches[];
  readonly restart: (index: number) => Promise<Caches>;
  /** Sizes of the parts of a path but the last. */
  readonly parts: readonly number[];
}

interface Upload {
  readonly id: string;
  readonly uploadId: string;
  /** Parts that were acknowledged, and with which bytes. */
  readonly acknowledged: Map<number, Content>;
  /** Whether somebody asked for its end. */
  isTouched: boolean;
}

/** An attempt under way: what it has yet to send. */
interface Attempt {
  readonly sending: Sending;
  rest: Buffer;
}

const md5 = (bytes: Uint8Array, encoding: 'hex' | 'base64') => createHash('md5').update(bytes).digest(encoding);

class World {
  readonly #init: WorldInit;
  readonly #path: TestPath;
  readonly #pieces: Buffer[];
  readonly #attempts: Attempt[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #failures: unknown[] = [];
  #upload: Upload | undefined;
  #restarts = 0;

  constructor(init: WorldInit) {
    this.#init = init;
    const sizes = init.parts;
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    this.#path = makePath({ contents: randomBytes(bytes + 50 * KIB) });
    const starts = [0, ...sizes].map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
    this.#pieces = starts.map((start, index) => this.#path.file.subarray(start, starts[index + 1]));
  }

  #cache(server: number): BinaryCache {
    const cache = this.#init.servers[server % this.#init.servers.length]?.get('main');
    if (cache === undefined) throw new Error('no such server');
    return cache;
  }

  async #begun(server: number): Promise<Upload> {
    this.#upload ??= {
      ...(await this.#cache(server).uploads.create('zstd')),
      acknowledged: new Map(),
      isTouched: false,
    };
    return this.#upload;
  }

  /** Notes a call; whatever it ends with must be an answer, unless its server was stopped meanwhile. */
  #note(call: Promise<unknown>): void {
    const restarts = this.#restarts;
    this.#running.push(
      call.then(
        () => {},
        (error: unknown) => {
          if (restarts === this.#restarts && answerOf(error) === undefined && !(error instanceof FeedError))
            this.#failures.push(error);
        },
      ),
    );
  }

  async step(step: Step): Promise<void> {
    switch (step.do) {
      case 'begin':
        this.#upload = undefined;
        break;
      case 'attempt':
        await this.#attempt(step.server, step.part % this.#pieces.length, step.content, step.bytes);
        break;
      case 'send':
      case 'end':
      case 'break':
        this.#goOn(step.do, step.attempt);
        break;
      case 'complete':
        if (this.#upload !== undefined) this.#note(this.#complete(step.server, this.#upload));
        break;
      case 'abort':
        if (this.#upload !== undefined) this.#note(this.#abort(step.server, this.#upload));
        break;
      case 'restart': {
        const index = step.server % this.#init.servers.length;
        this.#restarts++;
        await this.#init.servers[index]?.close();
        this.#init.servers[index] = await this.#init.restart(index);
        break;
      }
    }
    for (let n = 0; n < step.turns; n++) await turn();
  }

  async #attempt(server: number, index: number, content: Content, bytes: number): Promise<void> {
    const piece = this.#pieces[index] ?? Buffer.alloc(0);
    const half = Math.floor(piece.length / 2);
    const sent =
      content === 'right'
        ? piece
        : content === 'other'
          ? randomBytes(bytes)
          : Buffer.concat([piece.subarray(0, half), randomBytes(piece.length - half)]);
    const claim = content === 'other' ? sent : piece;
    const number = index + 1;
    try {
      const { id, uploadId, acknowledged } = await this.#begun(server);
      const { uploads } = this.#cache(server);
      const { url } = await uploads.grant(id, uploadId, number, md5(claim, 'hex'));
      if (url === undefined) {
        const feed = new Feed();
        const putting = uploads.putPart(id, uploadId, { number, size: claim.length, md5: md5(claim, 'hex') }, feed);
        this.#note(putting.then(() => acknowledged.set(number, content)));
        this.#attempts.push({ sending: feed, rest: sent });
      } else {
        const direct = new PartAttempt(url, claim.length, { 'content-md5': md5(claim, 'base64') });
        this.#note(direct.answer.then((answer) => answer?.status === 200 && acknowledged.set(number, content)));
        this.#attempts.push({ sending: direct, rest: sent });
      }
    } catch (error) {
      // The upload is over.
      if (answerOf(error) === undefined) throw error;
    }
  }

  #goOn(what: 'send' | 'end' | 'break', which: number): void {
    const attempt = this.#attempts[which % Math.max(1, this.#attempts.length)];
    if (attempt === undefined) return;
    const { sending, rest } = attempt;
    const now = what === 'send' ? Math.ceil(rest.length / 2) : what === 'end' ? rest.length : 0;
    if (now > 0) void sending.send(rest.subarray(0, now));
    attempt.rest = rest.subarray(now);
    if (what === 'end') sending.end();
    if (what === 'break') sending.break();
    if (what !== 'send') this.#attempts.splice(this.#attempts.indexOf(attempt), 1);
  }

  #abort(server: number, upload: Upload): Promise<void> {
    upload.isTouched = true;
    return this.#cache(server).uploads.abort(upload.id, upload.uploadId);
  }

  async #complete(server: number, upload: Upload): Promise<void> {
    const { id, uploadId } = upload;
    upload.isTouched = true;
    const parts = this.#pieces.map((piece, index) => ({ number: index + 1, etag: `"${md5(piece, 'hex')}"` }));
    const cache = this.#cache(server);
    await cache.uploads.complete(id, uploadId, parts, parseNarInfoCreate(narInfoCreate(this.#path)));
    assert.ok(await this.#isServed(cache), 'a completion that was acknowledged is served');
  }

  /** Whether the path is published, with its own bytes. */
  async #isServed(cache: BinaryCache): Promise<boolean> {
    const narinfo = await cache.paths.find(this.#path.hashPart);
    if (narinfo === undefined) return false;
    const text = narinfo.body.toString();
    const [, url = ''] = /^URL: (.*)$/m.exec(text) ?? [];
    const object = await cache.objects.find(url);
    assert.ok(object !== undefined, `${url} has no row`);
    const body = await cache.objects.read(object, { start: 0, end: object.size - 1 });
    const pieces: Buffer[] = [];
    if (Buffer.isBuffer(body)) pieces.push(body);
    else for await (const piece of body) pieces.push(piece as Buffer);
    const fileHash = formatHash(sha256(Buffer.concat(pieces)));
    assert.match(text, new RegExp(`^FileHash: ${fileHash}$`, 'm'), 'published bytes are the verified ones');
    assert.equal(fileHash, this.#path.fileHash);
    return true;
  }

  /** Ends what is under way; then a client that does it right gets through: with this upload, if it can, and anew. */
  async end(): Promise<void> {
    for (const { sending } of this.#attempts.splice(0)) sending.break();
    await Promise.all(this.#running);
    assert.deepEqual(this.#failures, []);
    for (const [server] of this.#init.servers.entries()) await this.#isServed(this.#cache(server));
    const upload = this.#upload;
    if (upload?.isTouched === false && ![...upload.acknowledged.values()].includes('other')) await this.#push(upload);
    if (upload !== undefined) await this.#abort(0, upload);
    this.#upload = undefined;
    await this.#push(await this.#begun(0));
  }

  /** Sends the parts that are missing, and completes. */
  async #push(upload: Upload): Promise<void> {
    for (const index of this.#pieces.keys()) {
      if (upload.acknowledged.has(index + 1)) continue;
      await this.#attempt(index, index, 'right', 0);
      this.#goOn('end', this.#attempts.length - 1);
      await Promise.all(this.#running);
    }
    assert.equal(
      upload.acknowledged.size,
      this.#pieces.length,
      'a part that was refused is taken with the right bytes',
    );
    await this.#complete(1, upload);
  }
}

/** Runs one interleaving on a cache, of whose paths it is one. */
export async function interleave(init: WorldInit, list: readonly Step[]): Promise<void> {
  const world = new World(init);
  for (const step of list) await world.step(step);
  await world.end();
}
