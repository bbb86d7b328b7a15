/**
 * Uploads in parts in a folder that several servers mount (ReadWriteMany). No server keeps anything of an upload in memory:
 * each part lies in a file of its own until `complete`, on whichever server, puts them together.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { errnoOf, ObjectMissingError, PartsError, storageError, UploadGoneError } from './errors.ts';
import { newName } from './names.ts';
import type { StagedFile } from './staged-file.ts';
import type { ArrivingPart, RemotePart, RemoteUpload, RemoteUploads } from './storage.ts';

export interface LocalPartsInit {
  readonly storage: string;
  readonly staging: string;
  /** Where the object of a name lies. */
  readonly fileOf: (name: string) => string;
  /** A staged file that becomes the object of this name. */
  readonly stageAs: (id: string, name: string) => StagedFile;
}

export class LocalParts implements RemoteUploads {
  readonly isDirect = false;
  readonly keepsFirst = false;
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

  /** Under a name of its own first: two attempts at one part may go on at the same time, on two servers. */
  async putSide(name: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<void> {
    const target = this.#side(name, part.number);
    const draft = `${target}.${randomUUID()}`;
    const md5 = createHash('md5');
    let size = 0;
    try {
      const file = await open(draft, 'wx');
      try {
        for await (const piece of body) {
          md5.update(piece);
          size += piece.length;
          // All of it: a plain write may stop short where the disk is nearly full.
          await file.appendFile(piece);
        }
      } finally {
        await file.close();
      }
      if (size !== part.size) throw new PartsError('invalid', `received ${size} of ${part.size} bytes`);
      const found = md5.digest('base64');
      if (found !== part.md5) throw new PartsError('digest', `the MD5 of the received bytes is ${found}`);
      await rename(draft, target);
    } catch (error) {
      await rm(draft, { force: true });
      throw storageError(this.#init.storage, error);
    }
  }

  async complete({ name }: RemoteUpload, parts: readonly RemotePart[]): Promise<void> {
    const whole = await stat(this.#init.fileOf(name)).catch(() => undefined);
    // Put together by an earlier try whose server died.
    if (whole !== undefined) return;
    const staged = this.#init.stageAs(`${flat(name)}.whole.${randomUUID()}`, name);
    const self = this;
    const body = async function* () {
      for (const part of parts) if (part.size > 0) yield* createReadStream(self.#side(name, part.number));
    };
    try {
      await staged.write(body());
      await staged.commit();
    } catch (error) {
      await staged.discard();
      if (errnoOf(error) === 'ENOENT') throw new UploadGoneError('a part is not there any more', { cause: error });
      throw error;
    }
  }

  async read(name: string): Promise<{ body: Readable; size: number }> {
    try {
      const handle = await open(this.#init.fileOf(name), 'r');
      const { size } = await handle.stat();
      return { body: handle.createReadStream(), size };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw new ObjectMissingError(this.#init.storage, name);
      throw storageError(this.#init.storage, error);
    }
  }

  async *unfinished(): AsyncIterable<string> {}

  async discardSides(name: string): Promise<void> {
    const { staging } = this.#init;
    for (const file of await readdir(staging))
      if (file.startsWith(`${flat(name)}.`)) await rm(path.join(staging, file), { force: true });
  }

  async discard(name: string): Promise<void> {
    await this.discardSides(name);
    await rm(this.#init.fileOf(name), { force: true });
  }

  #side(name: string, number: number): string {
    return path.join(this.#init.staging, `${flat(name)}.${number}`);
  }
}

/** An object's name as one word of a path. */
function flat(name: string): string {
  return name.replaceAll('/', '-');
}
