/**
 * Uploads in parts. S3 joins parts of 5 MiB and more by itself, and only the last may be smaller. Clients send parts
 * straight to S3 by presigned URLs, or through us (`uploads: Proxy`); then parts that are too small wait in objects of
 * their own, never on a disk of this machine, so that any server can go on with them. Each attempt at one has a key that
 * nobody else writes to, as any object has: where a part turns out to be the only one, it is the object already.
 *
 * What is sent after the end changes nothing: S3 forgets the id of an upload that it has joined, and URLs of its parts
 * with it.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { buffers } from '../../buffers/index.ts';
import { PartsError, UploadGoneError } from '../errors.ts';
import { newName } from '../names.ts';
import type { ArrivingPart, RemotePart, RemoteUpload, RemoteUploads } from '../storage.ts';
import type { Bucket } from './bucket.ts';
import type { ByteBudget } from './budget.ts';

/** What S3 wants of each part but the last. */
const LEAST_PART_BYTES = 5 * 2 ** 20;
/** The longest life of a presigned URL. */
const MOST_SECONDS = 7 * 24 * 3600;

export interface S3UploadsInit {
  readonly bucket: Bucket;
  readonly budget: ByteBudget;
  readonly keyOf: (name: string) => string;
  readonly onWarning: (text: string) => void;
}

export class S3Uploads implements RemoteUploads {
  readonly keepsOnly = true;
  readonly #init: S3UploadsInit;
  #warnedOf = 0;

  constructor(init: S3UploadsInit) {
    this.#init = init;
  }

  get isDirect(): boolean {
    return this.#init.bucket.config.uploads === 'Direct';
  }

  newName(): string {
    return newName();
  }

  begin(name: string): Promise<string> {
    return this.#init.bucket.createUpload(this.#init.keyOf(name));
  }

  async partUrl(name: string, id: string, number: number, md5: string, expiresAt: number): Promise<string> {
    const seconds = await this.lifetime(expiresAt);
    return this.#init.bucket.signedPart(this.#init.keyOf(name), id, number, md5, seconds);
  }

  /** Seconds until `expiresAt`, or until the credentials end if that is sooner. */
  async lifetime(expiresAt: number): Promise<number> {
    const end = await this.#init.bucket.credentialsExpireAt();
    if (end !== undefined && end < expiresAt && end !== this.#warnedOf) {
      this.#warnedOf = end;
      this.#init.onWarning(`the S3 credentials end on ${new Date(end).toISOString()}: URLs live no longer than that`);
    }
    const now = Date.now();
    const wanted = Math.ceil((expiresAt - now) / 1000);
    const allowed = end === undefined ? MOST_SECONDS : Math.floor((end - now) / 1000);
    return Math.max(1, Math.min(wanted, allowed, MOST_SECONDS));
  }

  joins(size: number): boolean {
    return size >= LEAST_PART_BYTES;
  }

  async putPart(name: string, id: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<string> {
    const { number, size, md5 } = part;
    const stream = Readable.from(exactly(size, body), { objectMode: false, highWaterMark: 256 * 1024 });
    // The SDK waits for bytes that do not come any more: a sender that fails must end the request itself.
    const broken = new AbortController();
    stream.once('error', (error) => broken.abort(error));
    try {
      const content = { body: stream, size, md5 };
      return await this.#init.bucket.putPart(this.#init.keyOf(name), id, number, content, broken.signal);
    } catch (error) {
      throw broken.signal.aborted ? broken.signal.reason : error;
    }
  }

  async putSide(name: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<void> {
    const release = await this.#init.budget.take(part.size);
    try {
      const pieces: Uint8Array[] = [];
      for await (const piece of exactly(part.size, body)) pieces.push(piece);
      const bytes = Buffer.concat(pieces, part.size);
      for (const piece of pieces) buffers.giveBack(piece);
      const found = createHash('md5').update(bytes).digest('base64');
      if (found !== part.md5) throw new PartsError('digest', `the MD5 of the received bytes is ${found}`);
      await this.#init.bucket.put(this.#init.keyOf(name), { body: bytes, size: part.size, md5: part.md5 });
    } finally {
      release();
    }
  }

  async complete(upload: RemoteUpload, parts: readonly RemotePart[]): Promise<void> {
    const { bucket, keyOf } = this.#init;
    const { id, name } = upload;
    const joined = parts.flatMap(({ number, at }) => ('etag' in at ? [{ number, etag: at.etag }] : []));
    if (joined.length === parts.length) return this.#join(upload, joined, undefined);
    const last = parts.at(-1);
    if (last === undefined || !('name' in last.at) || joined.length !== parts.length - 1)
      throw new PartsError('too-small', 'parts of less than 5 MiB lie between larger ones; use parts of one size');
    if (id === undefined) throw new UploadGoneError('this upload was not begun');
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    if ((await bucket.head(keyOf(name))) === size) return;
    const body = await buffer((await this.read(last.at.name)).body);
    const md5 = createHash('md5').update(body).digest('base64');
    const etag = await bucket.putPart(keyOf(name), id, last.number, { body, size: body.length, md5 });
    await this.#join(upload, [...joined, { number: last.number, etag }], size);
  }

  /** @param size of the whole, where it is known */
  async #join(
    { name, id }: RemoteUpload,
    parts: readonly { number: number; etag: string }[],
    size: number | undefined,
  ): Promise<void> {
    const { bucket, keyOf } = this.#init;
    if (id === undefined) throw new UploadGoneError('this upload was not begun');
    try {
      await bucket.completeUpload(keyOf(name), id, parts);
    } catch (error) {
      if (!(error instanceof UploadGoneError)) throw error;
      // Joined by an earlier try whose answer was lost; the name is of this upload alone.
      const found = await bucket.head(keyOf(name));
      if (found === undefined || (size !== undefined && found !== size)) throw error;
    }
  }

  read(name: string): Promise<{ body: Readable; size: number }> {
    return this.#init.bucket.get(this.#init.keyOf(name));
  }

  async *unfinished(before: number): AsyncIterable<string> {
    const { bucket, keyOf } = this.#init;
    const start = keyOf('');
    for await (const { key, initiatedAt } of bucket.uploads(start))
      if (initiatedAt < before) yield key.slice(start.length);
  }

  async discard(name: string): Promise<void> {
    const { bucket, keyOf } = this.#init;
    const key = keyOf(name);
    for await (const upload of bucket.uploads(key)) if (upload.key === key) await bucket.abortUpload(key, upload.id);
    await bucket.delete(key);
  }
}

/** A body that must have as many bytes as were announced: S3 would wait for more, or take less for all. */
async function* exactly(size: number, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const piece of body) {
    received += piece.length;
    if (received > size) break;
    yield piece;
  }
  if (received !== size) throw new PartsError('invalid', `received ${received} of ${size} bytes`);
}
