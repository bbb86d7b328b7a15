/**
 * Requests to one bucket. Each storage has a client and sockets of its own, so that a slow service never holds up
 * another. The SDK retries 5xx, SlowDown and lost connections with jitter and gives up by itself (`maxAttempts`, and a
 * budget that a service which only fails uses up); every call has a time limit on top. Of a service that is well, objects
 * are asked for without most of the SDK ([first-try](first-try.ts)).
 */

import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { StorageUnavailableError } from '../errors.ts';
import type { ByteRange } from '../storage.ts';
import type { S3Config } from './config.ts';
import { codeOf, s3Error } from './errors.ts';
import { FirstTry, type ObjectAnswer, type ObjectRequest, type OnRequest } from './first-try.ts';

const CONNECT_MS = 5_000;
/** Without a byte in either direction. */
const IDLE_MS = 60_000;
/** For calls that carry no bytes of objects. */
const CALL_MS = 30_000;
/** S3 joins the parts of a large upload behind the call, and keeps it open with blanks meanwhile. */
const COMPLETE_MS = 600_000;
const ATTEMPTS = 3;
const MAX_SOCKETS = 256;
/** In place of the SHA-256 of a body. */
const UNSIGNED = 'UNSIGNED-PAYLOAD';
/** Above, the SDK waits until the service has asked for a body before it sends one. */
const MOST_QUICK_BYTES = 2 ** 20;

export interface BucketInit {
  /** Name of the storage, for error texts. */
  readonly storage: string;
  readonly config: S3Config;
  /** Hears of each request that went out, retries included; status 0: no answer. */
  readonly onRequest?: OnRequest | undefined;
}

/** A body whose MD5 (base64) the service checks. */
export interface Content {
  readonly body: Uint8Array | Readable;
  readonly size: number;
  readonly md5: string;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modifiedAt: number;
}

export class Bucket {
  readonly #init: BucketInit;
  #config: S3Config;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #client: S3Client;
  /** Goes on where a first try went wrong. */
  #again: S3Client;
  #firstTry: FirstTry;
  /** Makes URLs for clients: of the public endpoint, where there is one. */
  #signer: S3Client;

  constructor(init: BucketInit) {
    this.#init = init;
    this.#config = init.config;
    this.#client = this.#connect(init.config.endpoint);
    this.#again = this.#connect(init.config.endpoint, this.#client);
    this.#firstTry = new FirstTry(this.#again, init.onRequest);
    this.#signer = this.#connect(init.config.publicEndpoint ?? init.config.endpoint);
  }

  get config(): S3Config {
    return this.#config;
  }

  /** When the service last answered as it should, by `performance.now()`; -Infinity once it did not. */
  get answeredAt(): number {
    return this.#answeredAt;
  }

  /** Goes on with other credentials or another address of the same bucket; requests under way end with the old ones. */
  configure(config: S3Config): void {
    this.#config = config;
    this.#answeredAt = Number.NEGATIVE_INFINITY;
    this.#client = this.#connect(config.endpoint);
    this.#again = this.#connect(config.endpoint, this.#client);
    this.#firstTry = new FirstTry(this.#again, this.#init.onRequest);
    this.#signer = this.#connect(config.publicEndpoint ?? config.endpoint);
  }

  close(): void {
    this.#client.destroy();
    this.#signer.destroy();
  }

  async put(key: string, { body, size, md5 }: Content): Promise<void> {
    const command = () => new PutObjectCommand({ ...this.#at(key), Body: body, ContentLength: size, ContentMD5: md5 });
    await this.#call(key, undefined, async () => {
      if (!(body instanceof Uint8Array) || size > MOST_QUICK_BYTES) return this.#client.send(command());
      const headers = {
        'content-length': String(size),
        'content-md5': md5,
        'content-type': 'application/octet-stream',
        'x-amz-content-sha256': UNSIGNED,
      };
      await this.#object({ operation: 'PutObject', key, headers, body }, (client) => client.send(command()));
    });
  }

  /** All bytes or a range. @throws ObjectMissingError */
  async get(key: string, range?: ByteRange): Promise<{ body: Readable; size: number }> {
    const Range = range === undefined ? undefined : `bytes=${range.start}-${range.end}`;
    const started = new AbortController();
    // Until the head of the answer is there; its bytes have the limit of an idle connection.
    const timer = setTimeout(() => started.abort(), CALL_MS);
    try {
      const { signal } = started;
      const answer = await this.#call(key, undefined, () =>
        this.#object(
          { operation: 'GetObject', key, headers: Range === undefined ? {} : { range: Range } },
          (client) => client.send(new GetObjectCommand({ ...this.#at(key), Range }), { abortSignal: signal }),
          signal,
        ),
      );
      if ('size' in answer) return answer;
      if (!(answer.Body instanceof Readable)) throw new Error('an answer without a body');
      return { body: answer.Body, size: answer.ContentLength ?? 0 };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Size in bytes; undefined: there is no such object. */
  async head(key: string): Promise<number | undefined> {
    try {
      const answer = await this.#client.send(new HeadObjectCommand(this.#at(key)), limit(CALL_MS));
      return answer.ContentLength ?? 0;
    } catch (error) {
      if (codeOf(error) === 'NotFound' || codeOf(error) === 'NoSuchKey') return undefined;
      throw this.#failure(key, error);
    }
  }

  /** Fine for what is not there. */
  async delete(key: string): Promise<void> {
    await this.#call(key, CALL_MS, async (options) => {
      await this.#object(
        { operation: 'DeleteObject', key },
        (client) => client.send(new DeleteObjectCommand(this.#at(key)), options),
        options.abortSignal,
      );
    });
  }

  /** Objects whose keys begin with `prefix`, in the order of keys, page by page. */
  async *list(prefix: string, after?: string, pageSize?: number): AsyncGenerator<ListedObject> {
    for (let token: string | undefined, more = true; more; ) {
      const page = await this.#call(prefix, CALL_MS, (options) =>
        this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.#config.bucket,
            Prefix: prefix,
            StartAfter: after,
            ContinuationToken: token,
            MaxKeys: pageSize,
          }),
          options,
        ),
      );
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? [])
        yield { key: Key, size: Size, modifiedAt: LastModified?.getTime() ?? Date.now() };
      token = page.NextContinuationToken;
      more = page.IsTruncated === true && token !== undefined;
    }
  }

  /** Unfinished multipart uploads below `prefix`. MinIO lists those of one exact key only; it expires them itself. */
  async *uploads(prefix: string): AsyncGenerator<{ key: string; id: string; initiatedAt: number }> {
    // Without the marker of an id, which not every service takes: uploads of one key at the end of a page may be left
    // out, and names here have one upload each.
    for (let marker: string | undefined, more = true; more; ) {
      const page = await this.#call(prefix, CALL_MS, (options) =>
        this.#client.send(
          new ListMultipartUploadsCommand({
            Bucket: this.#config.bucket,
            Prefix: prefix,
            KeyMarker: marker,
          }),
          options,
        ),
      );
      for (const { Key = '', UploadId = '', Initiated } of page.Uploads ?? [])
        yield { key: Key, id: UploadId, initiatedAt: Initiated?.getTime() ?? Date.now() };
      marker = page.NextKeyMarker;
      more = page.IsTruncated === true && marker !== undefined;
    }
  }

  /** Begins a multipart upload; its id. */
  async createUpload(key: string): Promise<string> {
    const { UploadId } = await this.#call(key, CALL_MS, (options) =>
      this.#client.send(new CreateMultipartUploadCommand(this.#at(key)), options),
    );
    if (UploadId === undefined) throw this.#failure(key, new Error('the answer has no UploadId'));
    return UploadId;
  }

  /** The ETag of the part. @throws PartsError, UploadGoneError */
  async putPart(
    key: string,
    id: string,
    number: number,
    { body, size, md5 }: Content,
    signal?: AbortSignal,
  ): Promise<string> {
    const options = signal === undefined ? {} : { abortSignal: signal };
    const { ETag } = await this.#call(key, undefined, () =>
      this.#client.send(
        new UploadPartCommand({
          ...this.#at(key),
          UploadId: id,
          PartNumber: number,
          Body: body,
          ContentLength: size,
          ContentMD5: md5,
        }),
        options,
      ),
    );
    if (ETag === undefined) throw this.#failure(key, new Error('the answer has no ETag'));
    return ETag;
  }

  /** Makes the object of its parts. @throws PartsError, UploadGoneError */
  async completeUpload(key: string, id: string, parts: readonly { number: number; etag: string }[]): Promise<void> {
    const Parts = parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag }));
    await this.#call(key, COMPLETE_MS, (options) =>
      this.#client.send(
        new CompleteMultipartUploadCommand({ ...this.#at(key), UploadId: id, MultipartUpload: { Parts } }),
        options,
      ),
    );
  }

  /** Fine for an upload that is over. */
  async abortUpload(key: string, id: string): Promise<void> {
    try {
      await this.#client.send(new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: id }), limit(CALL_MS));
    } catch (error) {
      if (codeOf(error) !== 'NoSuchUpload' && codeOf(error) !== 'NoSuchKey') throw this.#failure(key, error);
    }
  }

  /** A URL that reads an object, for whoever has it. */
  async signedGet(key: string, seconds: number): Promise<string> {
    return this.#sign(key, () =>
      getSignedUrl(this.#signer, new GetObjectCommand(this.#at(key)), { expiresIn: seconds }),
    );
  }

  /** A URL that takes exactly this part: its MD5 is a signed header. @param md5 base64 */
  async signedPart(key: string, id: string, number: number, md5: string, seconds: number): Promise<string> {
    return this.#sign(key, () =>
      getSignedUrl(
        this.#signer,
        new UploadPartCommand({ ...this.#at(key), UploadId: id, PartNumber: number, ContentMD5: md5 }),
        { expiresIn: seconds, signableHeaders: new Set(['host', 'content-md5']) },
      ),
    );
  }

  /** When the credentials end by themselves: what they sign is worth nothing afterwards. */
  async credentialsExpireAt(): Promise<number | undefined> {
    const { expiration } = await this.#sign('', () => this.#signer.config.credentials());
    return expiration?.getTime();
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#config.bucket, Key: key };
  }

  /** A service that is not well gets the SDK's tries alone, with its pauses between them. */
  async #object<T>(
    request: ObjectRequest,
    bySdk: (client: S3Client) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T | ObjectAnswer> {
    const isWell = Number.isFinite(this.#answeredAt);
    if (!isWell || !this.#firstTry.isPossible) return bySdk(this.#client);
    return (await this.#firstTry.send(request, signal)) ?? bySdk(this.#again);
  }

  async #call<T>(
    key: string,
    timeoutMs: number | undefined,
    send: (options: { abortSignal?: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    try {
      const result = await send(timeoutMs === undefined ? {} : limit(timeoutMs));
      this.#answeredAt = performance.now();
      return result;
    } catch (error) {
      throw this.#failure(key, error);
    }
  }

  async #sign<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#failure(key, error);
    }
  }

  #failure(key: string, error: unknown): Error {
    const failure = s3Error(this.#init.storage, this.#config, key, error);
    this.#answeredAt = failure instanceof StorageUnavailableError ? Number.NEGATIVE_INFINITY : performance.now();
    return failure;
  }

  /** @param of whose sockets and credentials it shares, for what is left of the tries */
  #connect(endpoint: string | undefined, of?: S3Client): S3Client {
    const { region, forcePathStyle } = this.#config;
    const credentials = of?.config.credentials ?? this.#config.credentials;
    const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
    const client = new S3Client({
      region,
      forcePathStyle,
      ...(endpoint !== undefined && { endpoint }),
      ...(credentials !== undefined && { credentials }),
      maxAttempts: of === undefined ? ATTEMPTS : ATTEMPTS - 1,
      // Nothing beyond what all services have; Content-MD5 covers what is sent.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: of?.config.requestHandler ?? {
        connectionTimeout: CONNECT_MS,
        socketTimeout: IDLE_MS,
        // The warning would be printed past our log.
        socketAcquisitionWarningTimeout: 2 ** 31 - 1,
        httpAgent: agent,
        httpsAgent: agent,
      },
    });
    // What is sent is covered by its MD5: a SHA-256 for the signature on top would cost as much as verifying it.
    client.middlewareStack.add(
      (next) => (args) => {
        const { request } = args as { request?: { headers?: Record<string, string> } };
        if (request?.headers?.['content-md5'] !== undefined) request.headers['x-amz-content-sha256'] = UNSIGNED;
        return next(args);
      },
      { step: 'build', priority: 'low', name: 'narwhalUnsignedPayload' },
    );
    client.middlewareStack.add(
      (next, context) => (args) => {
        if (client === this.#client && context.endpointV2 !== undefined) this.#firstTry.learn(context.endpointV2);
        return this.#counted(String(context.commandName), next(args));
      },
      { step: 'deserialize', priority: 'low', name: 'narwhalCount' },
    );
    return client;
  }

  async #counted<T extends { response: unknown }>(command: string, sending: Promise<T>): Promise<T> {
    const { onRequest } = this.#init;
    if (onRequest === undefined) return sending;
    const start = performance.now();
    const operation = command.replace(/Command$/, '');
    let status = 0;
    try {
      const result = await sending;
      const code: unknown =
        typeof result.response === 'object' && result.response !== null
          ? Reflect.get(result.response, 'statusCode')
          : undefined;
      status = typeof code === 'number' ? code : 0;
      return result;
    } finally {
      onRequest({ operation, status, milliseconds: performance.now() - start });
    }
  }
}

function limit(milliseconds: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(milliseconds) };
}
