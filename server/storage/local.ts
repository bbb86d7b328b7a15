/**
 * Objects as files below a folder. `objects/<hour>/<uuid>` holds published bytes: a name is never used twice, and
 * names of one hour share a folder so that concurrent publishes share its fsync. `.staging` holds the rest.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rm, rmdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { buffers, PIECE_BYTES } from '../buffers/index.ts';
import { crashPoint } from './crash-point.ts';
import {
  errnoOf,
  folderTrouble,
  isScarce,
  ObjectMissingError,
  StorageUnavailableError,
  storageError,
} from './errors.ts';
import { FileStream } from './file-stream.ts';
import { FolderSync } from './folder-sync.ts';
import { LocalParts } from './local-parts.ts';
import { foreignText, isOwn, MARKER_DRAFT, MARKER_FILE, type Marker, readMarker, writeMarker } from './marker.ts';
import { newName } from './names.ts';
import type { Readers } from './readers.ts';
import { StagedFile } from './staged-file.ts';
import type { ByteRange, Storage, StorageHealth, StorageUsage, StoredEntry } from './storage.ts';

/** Objects up to this size are read in one call; a stream costs three calls and a closing. */
const WHOLE_READ_BYTES = 256 * 1024;
const STAGING = '.staging';
/** Answers of statfs are used again for this long. */
const USAGE_MS = 100;

export interface LocalStorageInit {
  readonly name: string;
  readonly root: string;
  readonly cacheId: string;
  /** Whether other servers write to the folder too. */
  readonly isShared?: boolean;
  /** Whether the folder is a mounted volume: where it is missing it is not made. */
  readonly isMounted?: boolean;
  /** Name of the cache, for the marker's readers. */
  readonly cache?: string | undefined;
  /** Free bytes of the disk that are never used. */
  readonly reserveBytes: number;
  /** Who may read published bytes beside us. */
  readonly readers?: Readers | undefined;
  /** Hears what does no harm here, and keeps others from what they are to do. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

export class LocalStorage implements Storage {
  readonly name: string;
  readonly kind = 'local';
  /** Where other servers mount the folder too: uploads with which any of them can go on. */
  readonly remote: LocalParts | undefined;
  readonly root: string;
  readonly #init: LocalStorageInit;
  readonly #folders = new Map<string, Promise<FolderSync>>();
  #usage: Promise<StorageUsage> = Promise.resolve({ freeBytes: 0, totalBytes: undefined });
  #usedAt = Number.NEGATIVE_INFINITY;
  #health: StorageHealth = { state: 'Unavailable', reason: 'not opened yet' };

  constructor(init: LocalStorageInit) {
    this.name = init.name;
    this.root = path.resolve(init.root);
    this.#init = init;
    this.remote = init.isShared
      ? new LocalParts({
          storage: init.name,
          staging: path.join(this.root, STAGING),
          fileOf: (name) => this.#file(name),
        })
      : undefined;
  }

  get place(): string {
    return this.root;
  }

  health(): StorageHealth {
    return this.#health;
  }

  async open(known: boolean, settle: () => Promise<void> = async () => {}): Promise<StorageHealth> {
    this.#health = await this.#examine(known, settle).catch((error: unknown): StorageHealth => {
      return ill(folderTrouble(this.root, error));
    });
    return this.#health;
  }

  /**
   * Looks at a storage in use: a disk that was unmounted leaves an empty folder behind, without a marker. What makes a
   * storage ready is `open`.
   */
  async probe(isSure = false): Promise<StorageHealth> {
    if (this.#health.state !== 'Ready') return this.#health;
    try {
      const marker = await readMarker(this.root);
      if (marker === undefined) this.#health = ill(noMarker(this.root));
      else if (!isOwn(marker, this.#marker)) this.#health = ill(this.#foreign(marker));
      else await this.#makeFolders();
    } catch (error) {
      // A process without descriptors says nothing about the disk.
      if (isScarce(error) && isSure) throw error;
      if (isScarce(error)) return this.#health;
      this.#health = ill(folderTrouble(this.root, error));
    }
    // Open folders would keep the disk from being unmounted, and belong to another one afterwards.
    if (this.#health.state !== 'Ready') await this.close().catch(() => {});
    return this.#health;
  }

  /**
   * The folders that belong beside our marker; an open one that somebody has removed is forgotten, so that the next write
   * makes it anew. What lay in them is lost, and is pushed again.
   */
  async #makeFolders(): Promise<void> {
    for (const folder of [STAGING, 'objects']) {
      const place = path.join(this.root, folder);
      if (await isMissing(place)) await makeWithin(place);
    }
    for (const [folder, sync] of this.#folders) {
      await sync.catch(() => {});
      if (!(await isMissing(folder))) continue;
      this.#folders.delete(folder);
      sync.then((it) => it.close()).catch(() => {});
    }
  }

  #foreign(found: Marker | 'foreign'): string {
    return foreignText(this.root, path.join(this.root, MARKER_FILE), found, this.#marker);
  }

  get #marker(): Marker {
    return { cacheId: this.#init.cacheId, cache: this.#init.cache, storage: this.name };
  }

  async #examine(known: boolean, settle: () => Promise<void>): Promise<StorageHealth> {
    const marker = await readMarker(this.root);
    if (marker === undefined) {
      const entries: string[] | undefined = await readdir(this.root).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw error;
      });
      if (entries === undefined && this.#init.isMounted) return ill(`${this.root} is not mounted`);
      if (known) return ill(noMarker(this.root));
      // Another server has added the storage just now.
      if (entries?.includes(MARKER_FILE)) return this.#examine(known, settle);
      if (entries?.some((entry) => entry !== 'lost+found' && !entry.startsWith(MARKER_DRAFT)))
        return ill(`${this.root} is new to this cache and not empty`);
      await writeMarker(this.root, this.#marker, this.#init.isShared === true);
      crashPoint('after-marker');
    } else if (!isOwn(marker, this.#marker)) {
      return ill(this.#foreign(marker));
    }
    await this.#makeFolders();
    await this.#letIn();
    const root = await FolderSync.open(this.root);
    await root.sync().finally(() => root.close());
    await settle();
    return { state: 'Ready' };
  }

  async #letIn(): Promise<void> {
    const { readers, onWarning } = this.#init;
    if (readers === undefined) return;
    await readers.letIn(this.root);
    const barrier = await readers.barrier(this.root);
    if (barrier !== undefined)
      onWarning?.(
        `--objects-group finds no way to ${this.root}: ${barrier} is closed to it; give the storage a path of its own`,
      );
  }

  async close(): Promise<void> {
    const folders = [...this.#folders.values()];
    this.#folders.clear();
    await Promise.all(folders.map(async (folder) => (await folder).close()));
  }

  stage(id: string): StagedFile {
    return new StagedFile({
      storage: this.name,
      file: path.join(this.root, STAGING, id),
      newName,
      target: (name) => this.#file(name),
      createFolder: async (name) => {
        await this.#folder(name);
      },
      syncFolder: async (name) => (await this.#folder(name)).sync(),
      readers: this.#init.readers,
    });
  }

  async get(name: string, range: ByteRange): Promise<Buffer | Readable> {
    this.#mustBeReady();
    const file = this.#file(name);
    const size = range.end - range.start + 1;
    try {
      const handle = await open(file, 'r');
      if (size > WHOLE_READ_BYTES) {
        // A file that was cut short is noticed before an answer has begun.
        const found = await handle.stat().catch(async (error: unknown) => {
          await handle.close();
          throw error;
        });
        if (found.size <= range.end) {
          await handle.close();
          throw new ObjectMissingError(this.name, name);
        }
        return new FileStream(handle, range);
      }
      try {
        const buffer = buffers.take(size);
        const { bytesRead } = await handle.read(buffer, 0, size, range.start);
        if (bytesRead !== size) throw new ObjectMissingError(this.name, name);
        return buffer;
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw new ObjectMissingError(this.name, name);
      throw storageError(this.name, error);
    }
  }

  async readUrl(): Promise<undefined> {
    return undefined;
  }

  urlsEndAt(): number {
    return 0;
  }

  async stat(name: string): Promise<number | undefined> {
    try {
      return (await stat(this.#file(name))).size;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw storageError(this.name, error);
    }
  }

  /**
   * Makes what lies under a name durable, then reads all of it: its SHA-256 in hex. Undefined: there are no such bytes. For
   * a look before the storage is ready.
   */
  async prove(name: string, size: number): Promise<string | undefined> {
    try {
      const file = await open(this.#file(name), 'r');
      try {
        if ((await file.stat()).size !== size) return undefined;
        await Promise.all([file.sync(), (await this.#folder(name)).sync()]);
        const hash = createHash('sha256');
        for await (const piece of file.createReadStream({ autoClose: false, highWaterMark: PIECE_BYTES }))
          hash.update(piece);
        return hash.digest('hex');
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isScarce(error)) throw error;
      // A disk that cannot give them back, for whatever reason.
      return undefined;
    }
  }

  async delete(name: string): Promise<void> {
    await rm(this.#file(name), { force: true });
  }

  async *list(from = ''): AsyncIterable<StoredEntry> {
    const objects = path.join(this.root, 'objects');
    for (const folder of (await readdir(objects)).sort()) {
      if (folder < from) continue;
      for (const entry of await readdir(path.join(objects, folder))) {
        const name = `${folder}/${entry}`;
        const found = await stat(this.#file(name)).catch((error: unknown) => {
          if (errnoOf(error) !== 'ENOENT') throw storageError(this.name, error);
        });
        if (found !== undefined) yield { name, size: found.size, modifiedAt: found.mtimeMs };
      }
    }
  }

  /** Staging places and when they were last written to, to find what no upload knows. */
  async listStaged(): Promise<{ id: string; modifiedAt: number }[]> {
    const folder = path.join(this.root, STAGING);
    const entries = await Promise.all(
      (await readdir(folder)).map(async (id) => {
        const found = await stat(path.join(folder, id)).catch(() => undefined);
        // Nothing else is ours.
        return found?.isFile() ? { id, modifiedAt: found.mtimeMs } : undefined;
      }),
    );
    return entries.filter((entry) => entry !== undefined);
  }

  /** Asked before every write, so the disk is asked only every now and then; running full is noticed in any case. */
  async usage(): Promise<StorageUsage> {
    const now = performance.now();
    if (now - this.#usedAt > USAGE_MS) {
      this.#usedAt = now;
      this.#usage = this.#readUsage();
      this.#usage.catch(() => {
        this.#usedAt = Number.NEGATIVE_INFINITY;
      });
    }
    return this.#usage;
  }

  async #readUsage(): Promise<StorageUsage> {
    const disk = await statfs(this.root);
    return {
      freeBytes: Math.max(0, disk.bavail * disk.bsize - this.#init.reserveBytes),
      totalBytes: disk.blocks * disk.bsize,
    };
  }

  #mustBeReady(): void {
    if (this.#health.state === 'Unavailable') throw new StorageUnavailableError(this.name, this.#health.reason);
  }

  #file(name: string): string {
    return path.join(this.root, 'objects', name);
  }

  /** One open handle for each folder in use; all but the newest few are closed again. */
  #folder(name: string): Promise<FolderSync> {
    const folder = path.dirname(this.#file(name));
    let sync = this.#folders.get(folder);
    if (sync === undefined) {
      sync = this.#newFolder(folder);
      this.#folders.set(folder, sync);
      sync.catch(() => this.#folders.delete(folder));
      for (const [old, handle] of this.#folders) {
        if (this.#folders.size <= 4) break;
        this.#folders.delete(old);
        handle.then((it) => it.close()).catch(() => {});
      }
    }
    return sync;
  }

  /** A new folder is durable only when its parent is synced too. */
  async #newFolder(folder: string): Promise<FolderSync> {
    const isNew = await makeWithin(folder);
    await this.#init.readers?.giveFolder(folder);
    const sync = await FolderSync.open(folder);
    const parent = await FolderSync.open(path.dirname(folder));
    try {
      await parent.sync().finally(() => parent.close());
    } catch (error) {
      await sync.close().catch(() => {});
      // Synced again it would seem to be there.
      if (isNew) await rmdir(folder).catch(() => {});
      throw error;
    }
    return sync;
  }
}

/**
 * Makes a folder, and never those above it: below a mount point without its disk, or where a storage was removed a moment
 * ago, there must be nothing of ours. Another server may be faster: whether it was not.
 */
async function makeWithin(folder: string): Promise<boolean> {
  try {
    await mkdir(folder);
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    return false;
  }
}

async function isMissing(place: string): Promise<boolean> {
  const found = await stat(place).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
  return found === undefined;
}

function noMarker(root: string): string {
  return `${root} has no marker: the disk is not mounted, or its content was removed`;
}

function ill(reason: string): StorageHealth {
  return { state: 'Unavailable', reason };
}
