/**
 * fsync of a folder, shared. A rename is durable only once its folder is synced; a hundred renames that wait at the
 * same time need one sync, not a hundred (measured: folder syncs were a third of the cost of a small push).
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises';

export class FolderSync {
  readonly #folder: string;
  #handle: FileHandle | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  private constructor(folder: string, handle: FileHandle) {
    this.#folder = folder;
    this.#handle = handle;
  }

  /** Creates the folder where needed. */
  static async open(folder: string): Promise<FolderSync> {
    await mkdir(folder, { recursive: true });
    return new FolderSync(folder, await open(folder, 'r'));
  }

  /** Resolves when every change made before the call is durable. */
  sync(): Promise<void> {
    // A sync that already runs may have begun before the caller's rename: only the one after it counts. Where the first
    // fails it may have lost that rename too, and the one after it would not know.
    if (this.#running === undefined) return this.#start();
    if (this.#next !== undefined) return this.#next;
    const forget = (error: unknown) => {
      if (this.#next === next) this.#next = undefined;
      throw error;
    };
    const next: Promise<void> = this.#running.then(() => this.#start(), forget);
    this.#next = next;
    return next;
  }

  #start(): Promise<void> {
    this.#next = undefined;
    const handle = this.#handle;
    if (handle === undefined) return Promise.reject(new Error(`${this.#folder} is closed`));
    const running = handle.sync().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async close(): Promise<void> {
    await this.#next?.catch(() => {});
    await this.#running?.catch(() => {});
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}
