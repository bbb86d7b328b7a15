/**
 * A Cachix client of our own, written from the protocol and as strict as the original 1.11.1: exactly 200 is success,
 * JSON must be called application/json, calls and whole paths are repeated as the original repeats them.
 */
import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import {
  CachixFailure,
  CachixHttp,
  type CachixReply,
  type CachixRequest,
  type Content,
  mediaType,
} from './cachix-http.ts';

/** What a client says of a path at `complete`; `cSig` is the client's own business. */
export interface CachixClaim {
  readonly cStoreHash: string;
  readonly cStoreSuffix: string;
  readonly cNarHash: string;
  readonly cNarSize: number;
  readonly cFileHash: string;
  readonly cFileSize: number;
  readonly cReferences: readonly string[];
  readonly cDeriver: string;
}

export interface CachixPath {
  readonly claim: CachixClaim;
  /** The compressed NAR, or the name of a file that holds it. */
  readonly file: Buffer | string;
  readonly compression: 'zst' | 'xz';
}

export interface CachixClientInit {
  /** `scheme://host[:port]` of the API. */
  readonly host: string;
  readonly cache: string;
  /** None: a bare `Bearer` is sent. */
  readonly token?: string;
  /** Base64 of 64 bytes, seed and public key: paths are signed here, and the cache is not asked for its preferences. */
  readonly signingKey?: string;
  readonly chunkSize?: number;
  /** Paths at one time. */
  readonly jobs?: number;
  /** Parts of one path at one time. */
  readonly chunks?: number;
  /** Stands in for waiting. */
  readonly delay?: (ms: number) => Promise<void>;
  /** As `http_proxy` names it. */
  readonly proxy?: string;
}

export interface CacheInfo {
  readonly name: string;
  readonly uri: string;
  readonly isPublic: boolean;
  readonly publicSigningKeys: readonly string[];
  readonly githubUsername: string;
  readonly permission: string;
  readonly preferredCompressionMethod: string;
}

interface Part {
  readonly partNumber: number;
  readonly eTag: string | undefined;
}

const MIB = 1024 * 1024;
const CHUNK_BYTES = 32 * MIB;
const HASHES_PER_QUERY = 32_768;
const MORE_ATTEMPTS = 3;
const ATTEMPT_DELAY_MS = 5000;
/** Smaller parts of files are read whole. */
const BUFFERED_BYTES = MIB;
const ACCEPT = ['Accept', 'application/json;charset=utf-8,application/json'];
const JSON_TYPE = ['Content-Type', 'application/json;charset=utf-8'];
const OCTETS = ['Content-Type', 'application/octet-stream'];
const USER_AGENT = ['User-Agent', 'cachix 1.11.1'];
const NOTHING = Buffer.alloc(0);

export class CachixClient {
  readonly #init: CachixClientInit;
  readonly #http: CachixHttp;
  readonly #base: string;
  readonly #identity: readonly string[];

  constructor(init: CachixClientInit) {
    this.#init = init;
    this.#http = new CachixHttp({ delay: init.delay, proxy: init.proxy });
    this.#base = `${init.host.replace(/\/$/, '')}/api/v1/cache/${init.cache}`;
    this.#identity = ['Authorization', `Bearer ${init.token ?? ''}`, ...USER_AGENT];
  }

  /** `GET` of the cache, with every field checked. */
  async info(): Promise<CacheInfo> {
    const value = await this.#json({ method: 'GET', url: this.#base, headers: [...ACCEPT, ...this.#identity] });
    if (!isCacheInfo(value)) throw new Error(`not the description of a cache: ${JSON.stringify(value)}`);
    return value;
  }

  /** Those of the hashes that the cache wants. */
  async missing(hashes: readonly string[]): Promise<string[]> {
    const missing: string[] = [];
    for (let at = 0; at < hashes.length; at += HASHES_PER_QUERY) {
      const value = await this.#post('/narinfo', hashes.slice(at, at + HASHES_PER_QUERY));
      if (!Array.isArray(value) || !value.every((hash) => typeof hash === 'string'))
        throw new Error('the answer to a query is not a list of hashes');
      missing.push(...value);
    }
    return missing;
  }

  /** What `cachix push` does once it knows the closure. The hash parts that were uploaded. */
  async push(paths: readonly CachixPath[]): Promise<string[]> {
    if (this.#init.signingKey === undefined) await this.info();
    const missing = new Set(await this.missing(paths.map((path) => path.claim.cStoreHash)));
    const wanted = paths.filter((path) => missing.has(path.claim.cStoreHash));
    await eachOf(wanted, this.#init.jobs ?? 8, (path) => this.upload(path));
    return wanted.map((path) => path.claim.cStoreHash);
  }

  /** One path, from the beginning again when anything goes wrong. */
  async upload(path: CachixPath): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#uploadOnce(path);
        return;
      } catch (error) {
        if (attempt === MORE_ATTEMPTS) throw error;
        await this.#http.delay(ATTEMPT_DELAY_MS);
      }
    }
  }

  /** `cachix generate-keypair`, with the key that this client has. */
  async registerKey(): Promise<void> {
    const { signingKey } = this.#init;
    if (signingKey === undefined) throw new Error('no signing key to register');
    await this.#call('/key', { publicKey: publicKeyOf(signingKey) });
  }

  /** Whether a path is there. */
  async head(hash: string): Promise<boolean> {
    const reply = await this.#http.send({
      method: 'HEAD',
      url: `${this.#base}/${hash}.narinfo`,
      headers: this.#identity,
    });
    if (reply.status !== 200 && reply.status !== 404) throw failure(`HEAD ${hash}.narinfo`, reply);
    return reply.status === 200;
  }

  /** As clients up to 1.2 push: the NAR in one request, its claims in a second one. */
  async pushLegacy(path: CachixPath): Promise<void> {
    const body = Buffer.isBuffer(path.file) ? path.file : await readFile(path.file);
    const url = `${this.#base}/nar?compression=${path.compression}`;
    const headers = [...OCTETS, ...this.#identity];
    succeed('nar', await this.#http.send({ method: 'POST', url, headers, body, chunked: true }));
    await this.#call(`/${path.claim.cStoreHash}.narinfo`, this.#signed(path.claim));
  }

  close(): void {
    this.#http.close();
  }

  async #uploadOnce(path: CachixPath): Promise<void> {
    const created = await this.#json({
      method: 'POST',
      url: `${this.#base}/multipart-nar?compression=${path.compression}`,
      headers: [...ACCEPT, ...this.#identity],
      body: NOTHING,
    });
    const [narId, uploadId] = [textIn(created, 'narId'), textIn(created, 'uploadId')];
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(narId)) throw new Error(`narId is no UUID: ${narId}`);
    const chunkSize = this.#init.chunkSize ?? CHUNK_BYTES;
    const size = Buffer.isBuffer(path.file) ? path.file.length : (await stat(path.file)).size;
    // A length that is a multiple of the chunk size ends with an empty part, as the original's stream does.
    const numbers = Array.from({ length: Math.floor(size / chunkSize) + 1 }, (_, index) => index + 1);
    const query = `uploadId=${encodeURIComponent(uploadId)}`;
    const parts: Part[] = await eachOf(numbers, this.#init.chunks ?? 4, async (partNumber) => {
      const start = (partNumber - 1) * chunkSize;
      const { content, md5 } = await readPart(path.file, start, Math.min(size, start + chunkSize));
      const granted = await this.#post(`/multipart-nar/${narId}?${query}&partNumber=${partNumber}`, {
        contentMD5: md5,
      });
      return { partNumber, eTag: await this.#put(textIn(granted, 'uploadUrl'), content, md5) };
    });
    await this.#call(`/multipart-nar/${narId}/complete?${query}`, {
      narInfoCreate: this.#signed(path.claim),
      parts: parts.every((part) => part.eTag !== undefined)
        ? parts.map(({ eTag, partNumber }) => ({ eTag, partNumber }))
        : null,
    });
  }

  /** Sends a part; its ETag, letter by letter. Any 2xx will do here. */
  async #put(url: string, body: Content, md5: string): Promise<string | undefined> {
    const headers = [...OCTETS, 'Content-MD5', md5, ...USER_AGENT];
    const reply = await this.#http.send({ method: 'PUT', url, headers, body });
    if (reply.status < 200 || reply.status > 299) throw failure('part', reply);
    return reply.headers.etag;
  }

  #signed(claim: CachixClaim): CachixClaim & { cSig: string | null } {
    const { signingKey } = this.#init;
    return { ...claim, cSig: signingKey === undefined ? null : signPath(signingKey, claim) };
  }

  #post(path: string, value: unknown): Promise<unknown> {
    const headers = [...ACCEPT, ...JSON_TYPE, ...this.#identity];
    return this.#json({ method: 'POST', url: `${this.#base}${path}`, headers, body: encode(value) });
  }

  /** A call whose answer has no content. */
  async #call(path: string, value: unknown): Promise<void> {
    const headers = [...JSON_TYPE, ...this.#identity];
    const url = `${this.#base}${path}`;
    succeed(path, await this.#http.send({ method: 'POST', url, headers, body: encode(value) }));
  }

  async #json(request: CachixRequest): Promise<unknown> {
    const reply = await this.#http.send(request);
    succeed(new URL(request.url).pathname, reply);
    if (mediaType(reply) !== 'application/json') throw new Error(`unsupported content type: ${mediaType(reply)}`);
    return JSON.parse(reply.body.toString('utf8'));
  }
}

/** A key pair as `cachix generate-keypair` makes it: base64 of seed and public key. */
export function generateSigningKey(): string {
  const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const bytes = [jwk.d, jwk.x].map((half) => Buffer.from(half ?? '', 'base64url'));
  return Buffer.concat(bytes).toString('base64');
}

/** Base64 of the 32 bytes that are public. */
export function publicKeyOf(signingKey: string): string {
  return Buffer.from(signingKey, 'base64').subarray(32).toString('base64');
}

/** `cSig`: base64 of the signature, without a key's name. */
export function signPath(signingKey: string, claim: CachixClaim): string {
  const bytes = Buffer.from(signingKey, 'base64');
  const [d, x] = [bytes.subarray(0, 32).toString('base64url'), bytes.subarray(32).toString('base64url')];
  const key = createPrivateKey({ key: { kty: 'OKP', crv: 'Ed25519', d, x }, format: 'jwk' });
  const references = [...claim.cReferences].sort().map((reference) => `/nix/store/${reference}`);
  const storePath = `/nix/store/${claim.cStoreHash}-${claim.cStoreSuffix}`;
  const text = `1;${storePath};${claim.cNarHash};${claim.cNarSize};${references.join(',')}`;
  return sign(null, Buffer.from(text), key).toString('base64');
}

/** Works on `items`, `limit` at a time; the results in the order of the items. The first failure stops the rest. */
async function eachOf<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      const item = items[index];
      if (item === undefined) continue;
      try {
        results[index] = await work(item);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return results;
}

/** One part and its MD5; a big part of a file is read twice rather than held. */
async function readPart(file: Buffer | string, start: number, end: number): Promise<{ content: Content; md5: string }> {
  const hash = createHash('md5');
  if (Buffer.isBuffer(file) || end === start) {
    const content = Buffer.isBuffer(file) ? file.subarray(start, end) : NOTHING;
    return { content, md5: hash.update(content).digest('base64') };
  }
  const open = () => createReadStream(file, { start, end: end - 1, highWaterMark: 256 * 1024 });
  const pieces: Buffer[] = [];
  for await (const piece of open()) {
    hash.update(piece);
    if (end - start <= BUFFERED_BYTES) pieces.push(piece);
  }
  const content = end - start <= BUFFERED_BYTES ? Buffer.concat(pieces) : { size: end - start, open };
  return { content, md5: hash.digest('base64') };
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function succeed(what: string, reply: CachixReply): void {
  if (reply.status !== 200) throw failure(what, reply);
}

function failure(what: string, reply: CachixReply): CachixFailure {
  return new CachixFailure(what, reply.status, reply.body.toString('utf8'));
}

function textIn(value: unknown, field: string): string {
  const text: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined;
  if (typeof text !== 'string') throw new Error(`the answer has no ${field}`);
  return text;
}

function isCacheInfo(value: unknown): value is CacheInfo {
  if (typeof value !== 'object' || value === null) return false;
  const get = (field: string): unknown => Reflect.get(value, field);
  const keys = get('publicSigningKeys');
  return (
    ['name', 'uri', 'githubUsername'].every((field) => typeof get(field) === 'string') &&
    typeof get('isPublic') === 'boolean' &&
    Array.isArray(keys) &&
    keys.every((key) => typeof key === 'string') &&
    ['Read', 'Write', 'Admin'].includes(String(get('permission'))) &&
    ['XZ', 'ZSTD'].includes(String(get('preferredCompressionMethod')))
  );
}
