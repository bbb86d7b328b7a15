/**
 * Uploads in parts in a folder that several servers mount (ReadWriteMany). No server keeps anything of an upload in memory:
 * each attempt at a part lies in a file of its own until `complete`, on whichever server, puts together those that rows name.
 */

import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { buffers } from '../buffers/index.ts';
import { errnoOf, ObjectMissingError, PartsError, storageError } from './errors.ts';
import { newName } from './names.ts';
import type { ArrivingPart, RemoteUploads } from './storage.ts';

export interface LocalPartsInit {
  readonly storage: string;
  readonly staging: string;
  /** Where the object of a name lies. */
  readonly fileOf: (name: string) => string;
}

export class LocalParts implements RemoteUploads {
  readonly isDirect = false;
  readonly keepsOnly = false;
  readonly #init: LocalPartsInit;

  constructor(init: LocalPartsInit) {
    this.#init = init;
  }

  newName(): string {
    return newName();
  }

  joins(): boolean {
    return false;
  }

  begin(): Promise<string> {
    return Promise.reject(new Error('a folder joins no parts by itself'));
  }

  partUrl(): Promise<string> {
    return Promise.reject(new Error('parts for a folder come to the server'));
  }

  putPart(): Promise<string> {
    return Promise.reject(new Error('a folder joins no parts by itself'));
  }

  complete(): Promise<void> {
    return Promise.reject(new Error('a folder joins no parts by itself'));
  }

  async putSide(name: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<void> {
    const md5 = createHash('md5');
    let size = 0;
    try {
      // Nobody else writes there: a name is given to one attempt.
      const file = await open(this.#file(name), 'wx');
      try {
        for await (const piece of body) {
          md5.update(piece);
          size += piece.length;
          if (size > part.size) break;
          // All of it: a plain write may stop short where the disk is nearly full.
          await file.appendFile(piece);
          buffers.giveBack(piece);
        }
      } finally {
        await file.close();
      }
      if (size !== part.size) throw new PartsError('invalid', `received ${size} of ${part.size} bytes`);
      const found = md5.digest('base64');
      if (found !== part.md5) throw new PartsError('digest', `the MD5 of the received bytes is ${found}`);
    } catch (error) {
      await rm(this.#file(name), { force: true }).catch(() => {});
      throw storageError(this.#init.storage, error);
    }
  }

  async read(name: string): Promise<{ body: Readable; size: number }> {
    try {
      const handle = await open(this.#file(name), 'r');
      const { size } = await handle.stat();
      return { body: handle.createReadStream(), size };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw new ObjectMissingError(this.#init.storage, name);
      throw storageError(this.#init.storage, error);
    }
  }

  async *unfinished(): AsyncIterable<string> {}

  async discard(name: string): Promise<void> {
    await rm(this.#file(name), { force: true });
    await rm(this.#init.fileOf(name), { force: true });
  }

  /** Of a part: its name as one word of a path. */
  #file(name: string): string {
    return path.join(this.#init.staging, name.replaceAll('/', '-'));
  }
}
