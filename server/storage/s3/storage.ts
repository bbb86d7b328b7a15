/**
 * Objects in a bucket, below a prefix: `objects/<hour>/<uuid>` for what has a row or soon will, parts that are too small for
 * S3 among them, `.narwhal` for the marker. Nothing but what AWS, MinIO, Garage, Ceph and R2 share is used.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { crashPoint } from '../crash-point.ts';
import { ObjectMissingError, StorageUnavailableError } from '../errors.ts';
import { foreignText, isOwn, type Marker, parseMarker } from '../marker.ts';
import { newName } from '../names.ts';
import type { ByteRange, Staged, Storage, StorageHealth, StorageUsage, StoredEntry } from '../storage.ts';
import { Bucket, type BucketInit } from './bucket.ts';
import type { ByteBudget } from './budget.ts';
import { placeOf, type S3Config } from './config.ts';
import { ResumingStream } from './resuming-stream.ts';
import { S3Staged } from './staged.ts';
import { S3Uploads } from './uploads.ts';

/** Objects up to this size are read whole. */
const WHOLE_READ_BYTES = 256 * 1024;
/** A redirect is good for this long; a download that began in time may take longer. */
const URL_SECONDS = 3600;
/** The same URL is given out again while it is good for at least half of that: caches between us and clients like it. */
const URL_REUSE_MS = (URL_SECONDS / 2) * 1000;
const REMEMBERED_URLS = 10_000;
/** A storage that answered within this time is not asked how it is. */
const FRESH_MS = 30_000;
const MARKER = '.narwhal';

export interface S3StorageInit {
  readonly name: string;
  readonly config: S3Config;
  readonly marker: Marker;
  readonly budget: ByteBudget;
  /** Notes that bytes may come to lie under a name, before any do. */
  readonly onBegin: (name: string) => Promise<void>;
  /** Whatever lies under a name is to be removed. */
  readonly onDiscard: (name: string) => void;
  /** Repeats a request for as long as a push may wait. */
  readonly withRetries: <T>(work: () => Promise<T>) => Promise<T>;
  readonly onRequest?: BucketInit['onRequest'];
  readonly onWarning: (text: string) => void;
}

export class S3Storage implements Storage {
  readonly name: string;
  readonly kind = 's3';
  readonly remote: S3Uploads;
  readonly #init: S3StorageInit;
  readonly #bucket: Bucket;
  readonly #urls = new LRUCache<string, string>({ max: REMEMBERED_URLS });
  #urlsEndAt = 0;
  #health: StorageHealth = { state: 'Unavailable', reason: 'not opened yet' };

  constructor(init: S3StorageInit) {
    this.name = init.name;
    this.#init = init;
    this.#bucket = new Bucket({ storage: init.name, config: init.config, onRequest: init.onRequest });
    this.remote = new S3Uploads({
      bucket: this.#bucket,
      budget: init.budget,
      keyOf: (name) => this.#key(name),
      onWarning: init.onWarning,
    });
  }

  get config(): S3Config {
    return this.#bucket.config;
  }

  get place(): string {
    return placeOf(this.config);
  }

  health(): StorageHealth {
    return this.#health;
  }

  /** Takes over what may change while the server runs: credentials, region, how clients read and write. */
  configure(config: S3Config): void {
    if (JSON.stringify(config) === JSON.stringify(this.config)) return;
    this.#bucket.configure(config);
    this.#urls.clear();
  }

  async open(known: boolean, settle: () => Promise<void> = async () => {}): Promise<StorageHealth> {
    this.#health = await this.#examine(known).catch(ill);
    if (this.#health.state === 'Ready') await settle();
    return this.#health;
  }

  async probe(isSure = false): Promise<StorageHealth> {
    if (this.#health.state !== 'Ready') return this.#health;
    if (!isSure && performance.now() - this.#bucket.answeredAt < FRESH_MS) return this.#health;
    this.#health = await this.#examine(true).catch(ill);
    return this.#health;
  }

  async #examine(known: boolean): Promise<StorageHealth> {
    const found = await this.#readMarker();
    if (found === undefined) {
      if (known) return ill(`${this.place} has no marker: it was emptied, or is another bucket than before`);
      for await (const { key } of this.#bucket.list(this.#below(''), undefined, 1)) {
        // Another server has added the storage just now.
        if (key === this.#below(MARKER)) return this.#examine(known);
        return ill(
          `${this.place} is new to this cache and not empty (it has ${key}); give the storage a prefix of its own`,
        );
      }
      const text = Buffer.from(`${JSON.stringify(this.#init.marker)}\n`);
      const md5 = createHash('md5').update(text).digest('base64');
      await this.#bucket.put(this.#below(MARKER), { body: text, size: text.length, md5 });
      crashPoint('after-marker');
      return this.#examine(true);
    }
    if (!isOwn(found, this.#init.marker))
      return ill(foreignText(this.place, this.#below(MARKER), found, this.#init.marker));
    return { state: 'Ready' };
  }

  async #readMarker(): Promise<Marker | 'foreign' | undefined> {
    try {
      const { body } = await this.#bucket.get(this.#below(MARKER));
      return parseMarker((await readWhole(body)).toString('utf8'));
    } catch (error) {
      if (error instanceof ObjectMissingError) return undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#bucket.close();
  }

  stage(_id: string, declaredBytes?: number): Staged {
    const name = newName();
    return new S3Staged({
      bucket: this.#bucket,
      budget: this.#init.budget,
      name,
      key: this.#key(name),
      declaredBytes,
      onBegin: () => this.#init.onBegin(name),
      onDiscard: () => this.#init.onDiscard(name),
      withRetries: this.#init.withRetries,
    });
  }

  async get(name: string, range: ByteRange): Promise<Buffer | Readable> {
    this.#mustBeReady();
    const open = async (part: ByteRange) => {
      const { body, size } = await this.#bucket.get(this.#key(name), part);
      if (size > part.end - part.start) return body;
      // Fewer bytes than its row promises: a service gives what there is of a range.
      body.destroy();
      throw new ObjectMissingError(this.name, name);
    };
    const body = await open(range);
    if (range.end - range.start >= WHOLE_READ_BYTES) return new ResumingStream(body, range, open);
    const bytes = await readWhole(new ResumingStream(body, range, open));
    if (bytes.length !== range.end - range.start + 1) throw new ObjectMissingError(this.name, name);
    return bytes;
  }

  async readUrl(name: string): Promise<string | undefined> {
    if (this.config.reads === 'Proxy') return undefined;
    this.#mustBeReady();
    const known = this.#urls.get(name);
    if (known !== undefined) return known;
    const seconds = await this.remote.lifetime(Date.now() + URL_SECONDS * 1000);
    const url = await this.#bucket.signedGet(this.#key(name), seconds);
    this.#urlsEndAt = Date.now() + seconds * 1000;
    if (seconds === URL_SECONDS) this.#urls.set(name, url, { ttl: URL_REUSE_MS });
    return url;
  }

  /** Where reads are redirected other servers may give out such URLs too, up to this moment. */
  urlsEndAt(): number {
    return this.config.reads === 'Redirect' ? Date.now() + URL_SECONDS * 1000 : this.#urlsEndAt;
  }

  stat(name: string): Promise<number | undefined> {
    return this.#bucket.head(this.#key(name));
  }

  delete(name: string): Promise<void> {
    return this.#bucket.delete(this.#key(name));
  }

  async *list(from = ''): AsyncIterable<StoredEntry> {
    const start = this.#key('');
    for await (const { key, size, modifiedAt } of this.#bucket.list(start, from === '' ? undefined : `${start}${from}`))
      yield { name: key.slice(start.length), size, modifiedAt };
  }

  async usage(): Promise<StorageUsage> {
    return { freeBytes: undefined, totalBytes: undefined };
  }

  #key(name: string): string {
    return this.#below(`objects/${name}`);
  }

  #below(path: string): string {
    return this.config.prefix === '' ? path : `${this.config.prefix}/${path}`;
  }

  #mustBeReady(): void {
    if (this.#health.state === 'Unavailable') throw new StorageUnavailableError(this.name, this.#health.reason);
  }
}

function ill(reason: unknown): StorageHealth {
  const text = reason instanceof StorageUnavailableError ? reason.reason : reason;
  return { state: 'Unavailable', reason: text instanceof Error ? text.message : String(text) };
}

export async function readWhole(body: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
