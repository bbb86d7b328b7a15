/**
 * The file of a multipart upload. A part whose offset is known (all parts before it have arrived or announced their size)
 * is written to its place in the one file; a part that overtakes the others waits in a file of its own and is copied when
 * its turn comes. So the usual upload is written once, and any order of arrival works.
 *
 * A stretch of the file belongs to one part, or to one attempt at a part, and nobody else writes to it. A part has one
 * attempt at a time: a later one cuts off the earlier, and begins when the last write of that one has landed. An announced
 * size that turns out wrong costs a copy: what was put behind it then moves.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { LocalStorage, StagedFile } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import type { Body } from '../objects/index.ts';
import { PartAttempt, type PartInit } from './part-attempt.ts';
import { otherBytes, uploadOver } from './upload-errors.ts';

/** A part whose bytes are there and have the right MD5. */
export interface Part extends PartInit {
  /** Offset in the file; undefined: still in a file of its own. */
  start: number | undefined;
}

/** The MD5 (hex) of what lies in `file` from `start` on. */
export type Digest = (file: string, start: number, size: number) => Promise<string>;

/** Makes a note of where parts lie. */
export type Recorder = (parts: readonly Part[]) => Promise<void>;

/** A stretch of the file and the part that it belongs to. */
interface Place {
  readonly number: number;
  readonly start: number;
  readonly size: number;
}

/** The same, or a file beside it. */
type Stretch = Omit<Place, 'start'> & { readonly start: number | undefined };

/** Parts up to this size are hashed as they pass: less than a millisecond, and the file need not be opened again. */
const INLINE_BYTES = 256 * 1024;

/** Writes a body; its MD5 in hex. */
async function writeHashed(
  target: StagedFile,
  body: AsyncIterable<Uint8Array>,
  offset: number,
  size: number,
  digest: Digest,
): Promise<string> {
  if (size > INLINE_BYTES) {
    await target.write(body, { offset });
    return digest(target.file, offset, size);
  }
  const hash = createHash('md5');
  const passing = async function* () {
    for await (const piece of body) {
      hash.update(piece);
      yield piece;
    }
  };
  await target.write(passing(), { offset });
  return hash.digest('hex');
}

export class UploadFile {
  readonly base: StagedFile;
  readonly #storage: LocalStorage;
  readonly #id: string;
  /** Those that were received. */
  readonly #parts = new Map<number, Part>();
  /** The latest attempt at each part that is under way. */
  readonly #attempts = new Map<number, PartAttempt>();
  /** What is being written to. */
  readonly #writing = new Set<Stretch>();
  /** Files of parts that wait, received or not yet. */
  readonly #sides = new Map<number, StagedFile>();
  /** Parts that lie elsewhere than was recorded. */
  readonly #changed = new Set<Part>();
  #moving: Promise<void> = Promise.resolve();
  /** Why no part is taken in any more. */
  #sealed: CacheError | undefined;
  #isGone = false;

  constructor(storage: LocalStorage, id: string, parts: readonly Part[] = []) {
    this.#storage = storage;
    this.#id = id;
    this.base = storage.stage(id);
    for (const part of parts) {
      this.#parts.set(part.number, part);
      if (part.start === undefined) this.#side(part.number);
    }
  }

  /** Bytes at the beginning of the file that are complete. */
  get prefix(): number {
    let end = 0;
    for (let number = 1; ; number++) {
      const part = this.#parts.get(number);
      if (part === undefined || part.start !== end) return end;
      end += part.size;
    }
  }

  /** The same, for somebody who reads them: nobody writes there from now on. */
  keep(): number {
    const end = this.prefix;
    this.base.keep(end);
    return end;
  }

  /** Received parts, in order. */
  received(): Part[] {
    return [...this.#parts.values()].sort((a, b) => a.number - b.number);
  }

  /** The part, where it was received with these bytes. @throws CacheError Conflict (with others) */
  known({ number, size, md5 }: PartInit): Part | undefined {
    const part = this.#parts.get(number);
    if (part === undefined || (part.size === size && part.md5 === md5)) return part;
    throw otherBytes(number);
  }

  /**
   * Writes one part. `digest` tells the MD5 (hex) of what lies in `file` from `start` on. A part that was received stays:
   * the same bytes again are fine, others are refused. An attempt that is cut off by another with the same bytes shares
   * its outcome. @throws CacheError Conflict, Invalid (wrong MD5), Incomplete, Unavailable (cut off)
   */
  async write(claim: PartInit, body: Body, digest: Digest): Promise<Part> {
    const { number } = claim;
    const known = this.known(claim);
    if (known !== undefined) return known;
    if (this.#sealed !== undefined) throw this.#sealed;
    const earlier = this.#attempts.get(number);
    const attempt = new PartAttempt(claim);
    this.#attempts.set(number, attempt);
    try {
      await earlier?.cut(
        new CacheError('Unavailable', `part ${number} was sent once more by another request, which broke off`),
      );
      return this.known(claim) ?? (await this.#receive(attempt, body, digest));
    } catch (error) {
      if (attempt.reason === undefined || error !== attempt.reason) throw error;
    } finally {
      if (this.#attempts.get(number) === attempt) this.#attempts.delete(number);
      attempt.land();
    }
    return this.#outcomeOf(attempt, attempt.reason);
  }

  async #receive(attempt: PartAttempt, body: Body, digest: Digest): Promise<Part> {
    const { claim, reason } = attempt;
    const { number, size, md5 } = claim;
    if (reason !== undefined) throw reason;
    const part: Part = { ...claim, start: this.#placeOf(claim) };
    const target = part.start === undefined ? this.#side(number) : this.base;
    this.#writing.add(part);
    try {
      const found = await writeHashed(target, attempt.read(body), part.start ?? 0, size, digest);
      if (found !== md5)
        throw new CacheError(
          'Invalid',
          `part ${number}: the MD5 of the received bytes is ${found}, Content-MD5 says ${md5}`,
        );
      this.#parts.set(number, part);
      this.#changed.add(part);
      return part;
    } finally {
      this.#writing.delete(part);
      // It may wait for long.
      if (part.start === undefined) await target.close();
    }
  }

  /** What became of an attempt that was cut off: what became of those after it. */
  async #outcomeOf({ claim }: PartAttempt, reason: CacheError): Promise<Part> {
    for (let later = this.#attempts.get(claim.number); later !== undefined; ) {
      await later.landed;
      later = this.#attempts.get(claim.number);
    }
    const part = this.known(claim);
    if (part === undefined) throw reason;
    return part;
  }

  /**
   * Brings received parts to their places as far as these are known, and has recorded what has changed: before a place is
   * written to again, and before a file goes that a record names. Runs one after the other.
   */
  async settle(record: Recorder = async () => {}): Promise<void> {
    const run = this.#moving.then(() => this.#settle(record));
    this.#moving = run.catch(() => {});
    await run;
  }

  async #settle(record: Recorder): Promise<void> {
    if (this.#isGone) throw uploadOver();
    for (let next = this.#misplaced(); next !== undefined; next = this.#misplaced()) await this.#move(...next, record);
    await this.#flush(record);
    for (const [number, side] of this.#sides) {
      if (this.#parts.get(number)?.start === undefined) continue;
      this.#sides.delete(number);
      await side.discard();
    }
  }

  /** The first part that does not lie in its place and can go there. */
  #misplaced(): [Part, Place] | undefined {
    let start = 0;
    for (let number = 1; ; number++) {
      const part = this.#parts.get(number);
      const size = part?.size ?? this.#attempts.get(number)?.claim.size;
      if (size === undefined) return undefined;
      const place: Place = { number, start, size };
      if (part !== undefined && part.start !== start && overlapping(this.#writing, place).length === 0)
        return [part, place];
      start += size;
    }
  }

  /** Copies a part to its place. What lies there wrongly waits in files of its own again. */
  async #move(part: Part, place: Place, record: Recorder): Promise<void> {
    const { number, start, size } = place;
    this.#writing.add(place);
    try {
      const wrong = [...overlapping(this.#parts.values(), place), part].filter((other) => other.start !== undefined);
      for (const other of wrong) await this.#moveOut(other);
      if (wrong.length > 0) await this.#flush(record);
      if (size > 0) await copy(this.#side(number).file, 0, size, this.base, start);
      part.start = start;
      this.#changed.add(part);
    } finally {
      this.#writing.delete(place);
    }
  }

  /** Lets a part wait in a file of its own again. */
  async #moveOut(part: Part): Promise<void> {
    if (part.size > 0) {
      const side = this.#side(part.number);
      await copy(this.base.file, part.start ?? 0, part.size, side, 0);
      await side.close();
    }
    part.start = undefined;
    this.#changed.add(part);
  }

  async #flush(record: Recorder): Promise<void> {
    if (this.#changed.size === 0) return;
    const parts = [...this.#changed];
    this.#changed.clear();
    try {
      await record(parts);
    } catch (error) {
      for (const part of parts) this.#changed.add(part);
      throw error;
    }
  }

  /** Takes in no part any more: cuts off who still sends one, and waits until the last write has landed. */
  async seal(reason: CacheError): Promise<void> {
    this.#sealed ??= reason;
    await Promise.all([...this.#attempts.values()].map((attempt) => attempt.cut(reason)));
    await this.#moving;
  }

  /** Removes everything. */
  async discard(): Promise<void> {
    await this.close();
    await this.base.discard();
  }

  /** The upload is over: removes what lies beside the file, which stays. */
  async close(): Promise<void> {
    await this.seal(uploadOver());
    this.#isGone = true;
    await this.#moving;
    await Promise.all([...this.#sides.values()].map((side) => side.discard()));
  }

  /** The file in which a part waits. */
  #side(number: number): StagedFile {
    const side = this.#sides.get(number) ?? this.#storage.stage(`${this.#id}.${number}`);
    this.#sides.set(number, side);
    return side;
  }

  /** Where a new attempt may write at once: where its part belongs, if that is known and nobody else's. */
  #placeOf({ number, size }: PartInit): number | undefined {
    let start = 0;
    for (let before = 1; before < number; before++) {
      const known = this.#parts.get(before) ?? this.#attempts.get(before)?.claim;
      if (known === undefined) return undefined;
      start += known.size;
    }
    const place: Place = { number, start, size };
    const others = [...overlapping(this.#writing, place), ...overlapping(this.#parts.values(), place)];
    return others.length === 0 ? start : undefined;
  }
}

/** Those of other parts that a place would overwrite. */
function overlapping<S extends Stretch>(stretches: Iterable<S>, place: Place): S[] {
  return [...stretches].filter(
    ({ number, start, size }) =>
      number !== place.number && start !== undefined && start < place.start + place.size && place.start < start + size,
  );
}

async function copy(from: string, at: number, size: number, to: StagedFile, offset: number): Promise<void> {
  const bytes = await to.write(createReadStream(from, { start: at, end: at + size - 1 }), { offset });
  if (bytes !== size) throw new Error(`${from} has ${bytes} bytes where a part has ${size}`);
}
