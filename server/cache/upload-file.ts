/**
 * The file of a multipart upload. A part whose offset is known (all parts before it have announced their size) is
 * written to its place in the one file; a part that overtakes the others waits in a file of its own and is copied when
 * its turn comes. So the usual upload is written once, and any order of arrival works.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { LocalStorage, StagedFile } from '../storage/index.ts';
import { CacheError } from './errors.ts';
import type { Body } from './incoming.ts';

export interface Part {
  readonly number: number;
  readonly size: number;
  /** Hex. */
  readonly md5: string;
  /** Offset in the file; undefined: still in a file of its own. */
  start: number | undefined;
  /** Whether all its bytes are there and have the right MD5. */
  received: boolean;
}

/** The MD5 (hex) of what lies in `file` from `start` on. */
export type Digest = (file: string, start: number, size: number) => Promise<string>;

/** Parts up to this size are hashed as they pass: less than a millisecond, and the file need not be opened again. */
const INLINE_BYTES = 256 * 1024;

async function writeHashed(
  target: StagedFile,
  body: Body,
  offset: number,
  size: number,
  digest: Digest,
): Promise<{ bytes: number; md5: string }> {
  if (size > INLINE_BYTES) {
    const bytes = await target.write(body, { offset });
    return { bytes, md5: bytes === size ? await digest(target.file, offset, size) : '' };
  }
  const hash = createHash('md5');
  const passing = async function* () {
    for await (const piece of body) {
      hash.update(piece);
      yield piece;
    }
  };
  const bytes = await target.write(passing(), { offset });
  return { bytes, md5: hash.digest('hex') };
}

export class UploadFile {
  readonly base: StagedFile;
  readonly #storage: LocalStorage;
  readonly #id: string;
  readonly #parts = new Map<number, Part>();
  /** Parts that wait, received or not yet. */
  readonly #sides = new Map<number, StagedFile>();
  readonly #reloaded: boolean;
  #over = false;
  #moving: Promise<void> = Promise.resolve();

  constructor(storage: LocalStorage, id: string, parts: readonly Part[] = []) {
    this.#storage = storage;
    this.#id = id;
    this.base = storage.stage(id);
    this.#reloaded = parts.length > 0;
    for (const part of parts) {
      this.#parts.set(part.number, part);
      if (part.start === undefined) this.#side(part.number);
    }
  }

  /** The part as it is known; received or not. */
  part(number: number): Part | undefined {
    return this.#parts.get(number);
  }

  /** Bytes at the beginning of the file that are complete. */
  get prefix(): number {
    let end = 0;
    for (let number = 1; ; number++) {
      const part = this.#parts.get(number);
      if (part?.received !== true || part.start !== end) return end;
      end += part.size;
    }
  }

  /** Whether the file may hold more than the received parts: an earlier process or a broken attempt wrote on. */
  get mayBeLonger(): boolean {
    return this.#reloaded || [...this.#parts.values()].some((part) => !part.received);
  }

  /** Received parts, in order. */
  received(): Part[] {
    return [...this.#parts.values()].filter((part) => part.received).sort((a, b) => a.number - b.number);
  }

  /**
   * Writes one part. `digest` tells the MD5 (hex) of what lies in `file` from `start` on.
   * A part that was received stays: the same bytes again are fine, others are refused.
   * @throws CacheError Conflict, Invalid (wrong length or MD5)
   */
  async write(claim: { number: number; size: number; md5: string }, body: Body, digest: Digest): Promise<Part> {
    if (this.#over) throw new CacheError('NotFound', 'this upload is over; start a new one');
    const old = this.#parts.get(claim.number);
    // Offsets of later parts rest on this size, so only a part that nothing follows yet may change it.
    if (old !== undefined && old.size !== claim.size)
      throw new CacheError('Conflict', `part ${claim.number} was begun with ${old.size} bytes; start a new upload`);
    if (old?.received === true && old.md5 === claim.md5) return old;
    const start = old === undefined ? this.#offsetOf(claim.number) : old.start;
    // Two attempts at the same bytes share one record: whichever ends first has brought the part in.
    const part: Part = old?.md5 === claim.md5 ? old : { ...claim, start, received: false };
    this.#parts.set(part.number, part);
    const target = start === undefined ? this.#side(part.number) : this.base;
    const offset = start ?? 0;
    try {
      const { bytes, md5 } = await writeHashed(target, body, offset, part.size, digest);
      if (bytes !== part.size)
        throw new CacheError('Incomplete', `part ${part.number}: received ${bytes} of ${part.size} bytes`);
      if (md5 !== part.md5)
        throw new CacheError(
          'Invalid',
          `part ${part.number}: the MD5 of the received bytes is ${md5}, Content-MD5 says ${part.md5}`,
        );
    } catch (error) {
      // Another attempt was faster, and its bytes may have moved on meanwhile.
      if (part.received) return part;
      throw error;
    }
    part.received = true;
    return part;
  }

  /** Copies parts that waited into their place. The parts that moved; run again by itself when called meanwhile. */
  async settle(): Promise<Part[]> {
    const moved: Part[] = [];
    const run = this.#moving.then(async () => {
      for (const [number, side] of [...this.#sides].sort(([a], [b]) => a - b)) {
        const part = this.#parts.get(number);
        const start = this.#offsetOf(number);
        if (part?.received !== true) continue;
        if (start === undefined) break;
        if (part.size > 0) await this.base.write(createReadStream(side.file), { offset: start });
        part.start = start;
        this.#sides.delete(number);
        await side.discard();
        moved.push(part);
      }
    });
    this.#moving = run.catch(() => {});
    await run;
    return moved;
  }

  /** Removes everything, and takes in nothing any more. */
  async discard(): Promise<void> {
    await this.close();
    await this.base.discard();
  }

  /** The upload is over: removes what lies beside the file, which stays. */
  async close(): Promise<void> {
    this.#over = true;
    await this.#moving;
    await Promise.all([...this.#sides.values()].map((side) => side.discard()));
  }

  /** The file in which a part waits; one, however many attempts at the part there are. */
  #side(number: number): StagedFile {
    const side = this.#sides.get(number) ?? this.#storage.stage(`${this.#id}.${number}`);
    this.#sides.set(number, side);
    return side;
  }

  /** Where part `number` begins, if the sizes of all before it are known. */
  #offsetOf(number: number): number | undefined {
    let offset = 0;
    for (let before = 1; before < number; before++) {
      const part = this.#parts.get(before);
      if (part === undefined) return undefined;
      offset += part.size;
    }
    return offset;
  }
}
