/**
 * Bytes on their way in. They stream into a staged file of the storage that the strategy chose; when that medium runs
 * full in the middle, what has arrived moves to the next storage and the stream goes on there: a client that cannot
 * repeat a PUT (nix before 2.33.2) never notices.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { crashPoint, type Staged, StorageUnavailableError } from '../storage/index.ts';
import { CacheError } from './errors.ts';
import type { NewObject } from './objects.ts';
import { patiently } from './patience.ts';
import { isFull, type Placement, type Storages } from './storages.ts';

/** A request body, or anything else that yields bytes. Its iterator is closed by whoever made it. */
export type Body = AsyncIterable<Uint8Array>;

export interface ReceiveInit {
  readonly storages: Storages;
  readonly declaredBytes: number | undefined;
  readonly maxBytes: number;
  /** Called with each staged file that the bytes go to: once, or again after a move. */
  readonly onStaged?: (staged: Staged) => Promise<void> | void;
  /** Hears how many bytes are in the file. */
  readonly onWritten?: (end: number) => void;
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

  /** Makes the bytes durable under a new name; the row that makes them visible is the caller's. */
  async commit(key: string): Promise<NewObject> {
    const { storage } = this.#placement;
    const name = storage.newName();
    await full(storage.name, this.#storages, () =>
      patiently(() => this.staged.commit(name), this.#storages.settings.transientRetryMs),
    );
    this.#committed = true;
    this.#storages.count(storage.name, this.size);
    crashPoint('before-nar-row');
    return { key, storage: storage.name, name, size: this.size };
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
  const source = new Source(body, maxBytes);
  const tried = new Set<string>();
  // No storage may be there for a moment: waiting costs less than an answer that a client cannot repeat.
  const patience = storages.settings.transientRetryMs;
  let placement = await patiently(() => storages.place(declaredBytes ?? 0), patience);
  let staged = placement.storage.stage(randomUUID());
  for (;;) {
    try {
      await init.onStaged?.(staged);
      await staged.write(source.rest(), {
        offset: source.written,
        onWritten: (end) => {
          source.acknowledge(end);
          init.onWritten?.(end);
        },
      });
      if (declaredBytes !== undefined && source.written !== declaredBytes) {
        throw new CacheError('Incomplete', `received ${source.written} of ${declaredBytes} bytes`);
      }
      return new Incoming(staged, source.written, placement, storages);
    } catch (error) {
      const from = staged;
      try {
        placement.release();
        await exclude(storages, placement.storage.name, tried, error);
        [placement, staged] = await move(init, from, source.written, tried);
      } finally {
        await from.discard();
      }
    }
  }
}

/** Goes on with a copy of what has arrived in the next storage that takes it. @throws CacheError NoSpace */
async function move(
  init: ReceiveInit,
  from: Staged,
  written: number,
  tried: Set<string>,
): Promise<[Placement, Staged]> {
  const { storages, declaredBytes = 0 } = init;
  for (;;) {
    const placement = await storages.place(Math.max(declaredBytes, written), tried);
    const staged = placement.storage.stage(randomUUID());
    try {
      if (written > 0) await staged.write(createReadStream(from.file, { end: written - 1 }));
      return [placement, staged];
    } catch (error) {
      placement.release();
      await staged.discard();
      await exclude(storages, placement.storage.name, tried, error);
    }
  }
}

/** Leaves a storage out that is full or gone; throws what another storage would not change. */
async function exclude(storages: Storages, name: string, tried: Set<string>, error: unknown): Promise<void> {
  if (isFull(error)) storages.reportFull(name);
  else if (error instanceof StorageUnavailableError) await storages.suspect(name);
  else throw error;
  tried.add(name);
}

/** The body, with the pieces that are not on disk yet kept for a second try. */
class Source {
  written = 0;
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #maxBytes: number;
  #pending: Uint8Array[] = [];
  #received = 0;
  #ended = false;

  constructor(body: Body, maxBytes: number) {
    this.#iterator = body[Symbol.asyncIterator]();
    this.#maxBytes = maxBytes;
  }

  async *rest(): AsyncGenerator<Uint8Array> {
    yield* [...this.#pending];
    while (!this.#ended) {
      const next = await this.#iterator.next();
      if (next.done === true) {
        this.#ended = true;
        return;
      }
      this.#received += next.value.length;
      if (this.#received > this.#maxBytes) throw tooLarge(this.#maxBytes);
      this.#pending.push(next.value);
      yield next.value;
    }
  }

  acknowledge(end: number): void {
    let left = end - this.written;
    this.written = end;
    let done = 0;
    for (const piece of this.#pending) {
      if (piece.length > left) break;
      left -= piece.length;
      done++;
    }
    this.#pending = this.#pending.slice(done);
  }
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
