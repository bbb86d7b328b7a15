/**
 * A file in a local storage's staging folder: written in pieces, then renamed to its final name or removed. What somebody
 * was told of, by `onWritten` or after `keep`, is never written again, and from `place` on nothing is.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { buffers } from '../buffers/index.ts';
import { crashPoint } from './crash-point.ts';
import { errnoOf, StorageFullError, StorageUnavailableError, SyncFailedError, storageError } from './errors.ts';
import type { Readers } from './readers.ts';
import type { Staged, WriteOptions } from './storage.ts';

/** Pieces of a body are gathered up to this size, three socket reads for one write; 32 uploads hold it twice each. */
const GATHER_BYTES = 192 * 1024;

export interface StagedFileInit {
  readonly storage: string;
  readonly file: string;
  /** A new name for an object, each time it is asked. */
  readonly newName: () => string;
  /** Where an object's name lies on disk. */
  readonly target: (name: string) => string;
  /** Makes the rename of that name durable. */
  readonly syncFolder: (name: string) => Promise<void>;
  readonly createFolder: (name: string) => Promise<void>;
  /** Who may read published bytes beside us. */
  readonly readers?: Readers | undefined;
}

export class StagedFile implements Staged {
  readonly file: string;
  readonly #init: StagedFileInit;
  #handle: Promise<FileHandle> | undefined;
  /** The name that the file was given, from then on: a repeated commit must not begin anew. */
  #name: string | undefined;
  /** Bytes from the beginning that are never written again. */
  #kept = 0;
  /** Writes that run. */
  #writes = 0;
  #isOver = false;
  /** Why it is not on disk, once a sync has failed. */
  #lost: SyncFailedError | StorageFullError | undefined;

  constructor(init: StagedFileInit) {
    this.file = init.file;
    this.#init = init;
  }

  /** Resolves, or rejects, when its last byte has landed: nothing of it is on its way any more. */
  async write(body: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<number> {
    const start = options.offset ?? 0;
    if (this.#isOver || start < this.#kept) throw new Error(`${this.file}: these bytes are not written again`);
    let writing: Promise<unknown> | undefined;
    this.#writes++;
    try {
      const handle = await this.#open();
      let end = start;
      let pieces: Uint8Array[] = [];
      let gathered = 0;
      const flush = async () => {
        await writing;
        if (gathered === 0) return;
        const [batch, at, size] = [pieces, end, gathered];
        pieces = [];
        gathered = 0;
        end += size;
        writing = writeAll(handle, batch, at, size).then(() => {
          crashPoint('half-written');
          if (options.onWritten !== undefined) {
            this.keep(at + size);
            options.onWritten(at + size);
          }
          for (const piece of batch) buffers.giveBack(piece);
        });
        // The caller awaits it at the next flush; until then a failure must not count as unhandled.
        writing.catch(() => {});
      };
      for await (const piece of body) {
        pieces.push(piece);
        gathered += piece.length;
        if (gathered >= GATHER_BYTES) await flush();
      }
      await flush();
      await writing;
      return end - start;
    } catch (error) {
      throw storageError(this.#init.storage, error);
    } finally {
      // A body that breaks off leaves a write behind.
      await writing?.catch(() => {});
      this.#writes--;
    }
  }

  /** The first `end` bytes are never written again. */
  keep(end: number): void {
    this.#kept = Math.max(this.#kept, end);
  }

  async commit(size?: number): Promise<string> {
    const name = await this.place(size);
    await this.sync();
    return name;
  }

  async place(size?: number): Promise<string> {
    if (this.#writes > 0) throw new Error(`${this.file}: it is still being written`);
    this.#isOver = true;
    if (this.#name !== undefined) return this.#name;
    return this.#explained(async () => {
      // Only now, since names of one moment share a folder: see `settled` in cache/leftovers.ts.
      const name = this.#init.newName();
      // What is not there has no bytes to make durable: it must not be made here.
      const handle = await this.#open(0);
      if (size !== undefined) await handle.truncate(size);
      await this.#init.readers?.giveFile(handle);
      crashPoint('before-rename');
      await this.#init.createFolder(name);
      await rename(this.file, this.#init.target(name));
      this.#name = name;
      return name;
    });
  }

  /**
   * The file and its folder at the same time. What fails on the way to the disk fails for good; what never got there may be
   * repeated. @throws SyncFailedError
   */
  async sync(): Promise<void> {
    const name = this.#name;
    if (name === undefined) throw new Error(`${this.file}: it has no name yet`);
    if (this.#lost !== undefined) throw this.#lost;
    await this.#explained(async () => {
      const handle = await this.#open(0, this.#init.target(name));
      crashPoint('before-sync');
      const syncs = await Promise.allSettled([handle.sync(), this.#init.syncFolder(name)]);
      for (const sync of syncs) if (sync.status === 'rejected') throw this.#lose(sync.reason);
      // All is on disk; nobody needs to wait for the descriptor.
      this.close().catch(() => {});
    });
  }

  /** What a sync that failed means. */
  #lose(error: unknown): unknown {
    const { storage } = this.#init;
    const known = storageError(storage, error);
    if (known instanceof StorageFullError) this.#lost = known;
    else if (known instanceof StorageUnavailableError)
      this.#lost = new SyncFailedError(storage, `bytes could not be synced (${known.reason})`, { cause: error });
    // Whatever else it was, the disk was not asked.
    return this.#lost ?? error;
  }

  async #explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      // Whoever tries again opens it again.
      await this.close().catch(() => {});
      if (errnoOf(error) === 'ENOENT')
        throw new StorageUnavailableError(this.#init.storage, 'its folders are gone', { cause: error });
      throw storageError(this.#init.storage, error);
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await (await handle)?.close();
  }

  async discard(): Promise<void> {
    this.#isOver = true;
    await this.close().catch(() => {});
    await rm(this.file, { force: true });
    if (this.#lost !== undefined && this.#name !== undefined) await rm(this.#init.target(this.#name), { force: true });
  }

  #open(create = constants.O_CREAT, file = this.file): Promise<FileHandle> {
    if (this.#handle === undefined) {
      this.#handle = this.#openFile(file, create);
      this.#handle.catch(() => {
        this.#handle = undefined;
      });
    }
    return this.#handle;
  }

  /** Keeps what an earlier process wrote, which no mode by letters does without a second call. */
  async #openFile(file: string, create: number): Promise<FileHandle> {
    try {
      const handle = await open(file, constants.O_RDWR | create);
      crashPoint('staged-created');
      return handle;
    } catch (error) {
      // The folder was there when the storage was opened.
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new StorageUnavailableError(this.#init.storage, 'its staging folder is gone', { cause: error });
    }
  }
}

/** writev may write less than asked (a signal, a nearly full disk); the rest is written piece by piece. */
async function writeAll(handle: FileHandle, pieces: Uint8Array[], at: number, size: number): Promise<void> {
  const { bytesWritten } = await handle.writev(pieces, at);
  if (bytesWritten === size) return;
  const rest = Buffer.concat(pieces, size);
  let done = bytesWritten;
  while (done < size) {
    const step = await handle.write(rest, done, size - done, at + done);
    done += step.bytesWritten;
  }
}
