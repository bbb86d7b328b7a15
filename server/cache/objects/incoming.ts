/**
 * Bytes on their way in. They stream into the storage that the strategy chose; when that one runs full or fails in the
 * middle, what has arrived moves to the next one and the stream goes on there: a client that cannot repeat a PUT (nix
 * before 2.33.2) never notices. What a storage on another machine has taken in cannot be had back from there before it is
 * an object; so a large body that has begun to go to S3 stays there, and waits where S3 fails, unless whoever gave it can
 * give it again.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { crashPoint, type Staged, StorageUnavailableError } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { withRetries } from '../flow/index.ts';
import { isFull, type Placement, type Storages } from '../storages/index.ts';
import type { NewObject } from './object.ts';

/** A request body, or anything else that yields bytes. Its iterator is closed by whoever made it. */
export type Body = AsyncIterable<Uint8Array>;

/** Who looks at the bytes on their way. */
export interface Observer {
  /** So many bytes lie in the file of the staging place, if it has one. */
  grow?(end: number): void;
  /** They lie in no file: every piece comes by, from the first on. */
  piece?(piece: Uint8Array): Promise<void>;
}

export interface ReceiveInit {
  readonly storages: Storages;
  readonly declaredBytes: number | undefined;
  readonly maxBytes: number;
  /** The same bytes from their beginning, where they can be had again. */
  readonly again?: () => Body;
  /** Called with each staging place that the bytes go to: once, or again after a move. */
  readonly onStaged?: (staged: Staged) => Promise<Observer>;
}

/** A body that has arrived whole. Call `close` in every case; after `commit` it only frees the placement. */
export class Incoming {
  readonly size: number;
  readonly staged: Staged;
  readonly #placement: Placement;
  readonly #storages: Storages;
  #committed = false;

  constructor(staged: Staged, size: number, placement: Placement, storages: Storages) {
    this.staged = staged;
    this.size = size;
    this.#placement = placement;
    this.#storages = storages;
  }

  /** Makes the bytes durable as an object; the row that makes them visible is the caller's. */
  async commit(key: string): Promise<NewObject> {
    return this.#named(key, await this.#repeated(() => this.staged.commit()));
  }

  /** The same but for the disk, which `sync` waits for; without one they are durable. */
  async place(key: string): Promise<{ object: NewObject; sync?: () => Promise<void> }> {
    const { staged } = this;
    if (staged.place === undefined || staged.sync === undefined) return { object: await this.commit(key) };
    const [place, sync] = [staged.place.bind(staged), staged.sync.bind(staged)];
    return {
      object: this.#named(key, await this.#repeated(() => place())),
      sync: () => this.#repeated(sync).finally(() => staged.close().catch(() => {})),
    };
  }

  #repeated<T>(work: () => Promise<T>): Promise<T> {
    const { storage } = this.#placement;
    const storages = this.#storages;
    return full(storage.name, storages, () => withRetries(work, storages.settings.transientRetryMs));
  }

  #named(key: string, name: string): NewObject {
    const { storage } = this.#placement;
    this.#committed = true;
    this.#storages.count(storage.name, this.size);
    crashPoint('before-nar-row');
    return { key, storage: storage.name, name, size: this.size, isIntended: this.staged.file === undefined };
  }

  /** All bytes again, before `commit`. */
  async *read(): AsyncGenerator<Uint8Array> {
    if (this.size === 0) return;
    const { file } = this.staged;
    if (file !== undefined) {
      yield* createReadStream(file);
      return;
    }
    const { storage } = this.#placement;
    const name = await this.staged.commit();
    const body = await storage.get(name, { start: 0, end: this.size - 1 });
    if (Buffer.isBuffer(body)) yield body;
    else yield* body;
  }

  async close(): Promise<void> {
    this.#placement.release();
    if (!this.#committed) await this.staged.discard();
  }
}

/** Takes in a whole body. @throws CacheError TooLarge, NoSpace, Incomplete, and what the body's iterator throws */
export async function receive(init: ReceiveInit, body: Body): Promise<Incoming> {
  const { storages, declaredBytes, maxBytes } = init;
  if (declaredBytes !== undefined && declaredBytes > maxBytes) throw tooLarge(maxBytes);
  let source = new Source(body, maxBytes);
  const choice = new Choice(storages);
  /** A file with the beginning of the body, of a storage that ran full. */
  let kept: { staged: Staged; bytes: number } | undefined;
  for (;;) {
    const placement = await choice.next(Math.max(declaredBytes ?? 0, source.written)).catch(async (error: unknown) => {
      await kept?.staged.discard();
      throw error;
    });
    const staged = placement.storage.stage(randomUUID(), declaredBytes);
    let reached = 0;
    try {
      const observer = (await init.onStaged?.(staged)) ?? {};
      // Of a body that says nothing of its size each piece is asked for.
      const room = declaredBytes === undefined ? (size: number) => storages.mustFit(size) : undefined;
      await staged.write(observed(chain(kept, source), observer, room), {
        onWritten: (end) => {
          reached = end;
          placement.grow(end);
          source.acknowledge(end);
          observer.grow?.(end);
        },
      });
      if (declaredBytes !== undefined && source.received !== declaredBytes)
        throw new CacheError('Incomplete', `received ${source.received} of ${declaredBytes} bytes`);
      await kept?.staged.discard();
      return new Incoming(staged, source.received, placement, storages);
    } catch (error) {
      placement.release();
      try {
        await choice.exclude(placement.storage.name, error);
        // What went to another machine beyond what is kept here cannot be had back from there.
        if (staged.file === undefined && reached > (kept?.bytes ?? 0)) {
          if (init.again === undefined) throw brokenOff(placement.storage.name, error);
          await kept?.staged.discard();
          kept = undefined;
          source = new Source(init.again(), maxBytes);
        }
      } catch (final) {
        await Promise.all([staged.discard(), kept?.staged.discard()]);
        throw final;
      }
      if (staged.file === undefined || reached < source.written) await staged.discard();
      else if (reached > 0) {
        await kept?.staged.discard();
        kept = { staged, bytes: reached };
      }
    }
  }
}

/** What is in a file already, then what still comes. */
async function* chain(kept: { staged: Staged; bytes: number } | undefined, source: Source): AsyncGenerator<Uint8Array> {
  const file = kept?.staged.file;
  if (kept !== undefined && file !== undefined) yield* createReadStream(file, { end: kept.bytes - 1 });
  yield* source.rest();
}

async function* observed(
  body: Body,
  { piece: look }: Observer,
  room?: (size: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    room?.(piece.length);
    await look?.(piece);
    yield piece;
  }
}

/** Storages in the order in which they are tried. */
class Choice {
  readonly #storages: Storages;
  readonly #tried = new Map<string, 'full' | 'ill'>();
  readonly #deadline: number;

  constructor(storages: Storages) {
    this.#storages = storages;
    this.#deadline = Date.now() + storages.settings.transientRetryMs;
  }

  /**
   * The next storage with room. None may be there for a moment: waiting costs less than an answer that a client cannot
   * repeat. @throws CacheError NoSpace, Unavailable
   */
  next(size: number): Promise<Placement> {
    return withRetries(async () => {
      try {
        return await this.#storages.place(size, new Set(this.#tried.keys()));
      } catch (error) {
        const ill = [...this.#tried].filter(([, why]) => why === 'ill');
        if (ill.length === 0) throw error;
        // Those that failed may be back when this is tried again.
        for (const [name] of ill) this.#tried.delete(name);
        throw new CacheError('Unavailable', 'no writable storage is available', { cause: error });
      }
    }, this.#deadline - Date.now());
  }

  /** Leaves a storage out that is full or gone; throws what another storage would not change. */
  async exclude(name: string, error: unknown): Promise<void> {
    if (isFull(error)) {
      this.#storages.reportFull(name);
      this.#tried.set(name, 'full');
    } else if (error instanceof StorageUnavailableError) {
      // However late: a storage that was waited for in vain is no reason not to ask the next one.
      await this.#storages.suspect(name);
      this.#tried.set(name, 'ill');
    } else throw error;
  }
}

/** The body, with the pieces that are in no storage yet kept for a second try. */
class Source {
  /** Bytes that a storage has taken in. */
  written = 0;
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #maxBytes: number;
  received = 0;
  #pending: Uint8Array[] = [];
  /** Bytes before the first pending piece. */
  #dropped = 0;
  #ended = false;

  constructor(body: Body, maxBytes: number) {
    this.#iterator = body[Symbol.asyncIterator]();
    this.#maxBytes = maxBytes;
  }

  /** What no storage has taken in, then what still comes. */
  async *rest(): AsyncGenerator<Uint8Array> {
    const taken = this.written - this.#dropped;
    for (const [index, piece] of [...this.#pending].entries()) yield index === 0 ? piece.subarray(taken) : piece;
    while (!this.#ended) {
      const next = await this.#iterator.next();
      if (next.done === true) {
        this.#ended = true;
        return;
      }
      this.received += next.value.length;
      if (this.received > this.#maxBytes) throw tooLarge(this.#maxBytes);
      this.#pending.push(next.value);
      yield next.value;
    }
  }

  /** `end` bytes are in a storage now; those that are elsewhere already may be told again. */
  acknowledge(end: number): void {
    this.written = Math.max(this.written, end);
    let done = 0;
    for (const piece of this.#pending) {
      if (this.#dropped + piece.length > this.written) break;
      this.#dropped += piece.length;
      done++;
    }
    this.#pending = this.#pending.slice(done);
  }
}

/** Only the client has the bytes now. */
function brokenOff(storage: string, cause: unknown): CacheError {
  const text = `storage ${storage} failed when it had taken in a part of this body; send it again`;
  return new CacheError('Unavailable', text, { cause });
}

function tooLarge(maxBytes: number): CacheError {
  return new CacheError('TooLarge', `larger than the limit of ${maxBytes} bytes`);
}

/** Tells the strategy when a medium turns out to be full. */
async function full<T>(storage: string, storages: Storages, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isFull(error)) storages.reportFull(storage);
    throw error;
  }
}
