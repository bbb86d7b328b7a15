/** A real S3 server, versitygw over a temporary folder. What it does as Amazon's and what not: s3-server.test.ts. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  CreateBucketCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  paginateListObjectsV2,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { ensureVersitygw } from '../../hack/components/versitygw.mjs';
import { onFreePort, onSamePort, ServerProcess } from './server-process.ts';

export interface S3ServerInit {
  readonly region?: string;
}

/** A multipart upload that was neither completed nor aborted. */
export interface OpenUpload {
  readonly key: string;
  readonly id: string;
}

export class S3Server {
  /** Holds the buckets as folders, and the log. */
  readonly folder: string;
  readonly region: string;
  readonly accessKeyId = `NWLTEST${randomBytes(8).toString('hex').toUpperCase()}`;
  readonly secretAccessKey = randomBytes(30).toString('base64url');
  readonly #clients: S3Client[] = [];
  #port = 0;
  #process: ServerProcess | undefined;

  private constructor(folder: string, region: string) {
    this.folder = folder;
    this.region = region;
  }

  static async start({ region = 'us-east-1' }: S3ServerInit = {}): Promise<S3Server> {
    const server = new S3Server(await mkdtemp(path.join(os.tmpdir(), 'narwhal-s3-')), region);
    try {
      await mkdir(server.#buckets);
      await mkdir(server.#sidecar);
      await onFreePort((port) => server.#startOn(port));
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  /** `http://127.0.0.1:port`; buckets are the first word of a path. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** A client with the server's own credentials, or as `config` says otherwise. It is closed by remove(). */
  client(config: S3ClientConfig = {}): S3Client {
    const { accessKeyId, secretAccessKey, region, endpoint } = this;
    const client = new S3Client({
      endpoint,
      region,
      credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: true,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      ...config,
    });
    this.#clients.push(client);
    return client;
  }

  async createBucket(name: string): Promise<void> {
    await this.#own.send(new CreateBucketCommand({ Bucket: name }));
  }

  /** Names of all objects, in order. */
  async keys(bucket: string, prefix = ''): Promise<string[]> {
    const keys: string[] = [];
    for await (const page of paginateListObjectsV2({ client: this.#own }, { Bucket: bucket, Prefix: prefix })) {
      for (const { Key } of page.Contents ?? []) if (Key !== undefined) keys.push(Key);
    }
    return keys;
  }

  /** Every multipart upload that is still open; of more than a thousand, one of each key. */
  async uploads(bucket: string, prefix = ''): Promise<OpenUpload[]> {
    const uploads: OpenUpload[] = [];
    for (let marker: string | undefined, more = true; more; ) {
      const page = await this.#own.send(
        new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix, KeyMarker: marker }),
      );
      for (const { Key, UploadId } of page.Uploads ?? []) {
        if (Key !== undefined && UploadId !== undefined) uploads.push({ key: Key, id: UploadId });
      }
      // Not with NextUploadIdMarker: versitygw 1.8.0 refuses the marker that it gave.
      marker = page.NextKeyMarker;
      more = page.IsTruncated ?? false;
    }
    return uploads;
  }

  /** Ends the process; at once unless another signal is asked for. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#process?.stop(signal);
  }

  /** Starts it again on the same port with the same data. */
  async restart(): Promise<void> {
    await this.stop();
    await onSamePort(() => this.#startOn(this.#port));
  }

  /** Stops the server and removes its data. */
  async remove(): Promise<void> {
    await this.stop();
    for (const client of this.#clients) client.destroy();
    await rm(this.folder, { recursive: true, force: true });
  }

  get #buckets(): string {
    return path.join(this.folder, 'buckets');
  }

  get #sidecar(): string {
    return path.join(this.folder, 'metadata');
  }

  #ownClient: S3Client | undefined;
  /** Patient with nothing: a test that looks at a stopped server must fail at once. */
  get #own(): S3Client {
    this.#ownClient ??= this.client({ maxAttempts: 1 });
    return this.#ownClient;
  }

  async #startOn(port: number): Promise<void> {
    this.#port = port;
    this.#ownClient = undefined;
    try {
      await this.#startWith([]);
    } catch (error) {
      // An older tmpfs has no extended attributes, where versitygw keeps what is not an object's content.
      if (!/xattrs are not supported/.test(String(error))) throw error;
      await this.#startWith(['--sidecar', this.#sidecar]);
    }
  }

  async #startWith(flags: readonly string[]): Promise<void> {
    const [program = ''] = await ensureVersitygw();
    const server = new ServerProcess({
      words: [
        program,
        ...['--quiet', '--keep-alive', '--port', `127.0.0.1:${this.#port}`, '--region', this.region],
        ...['posix', ...flags, this.#buckets],
      ],
      // Nothing of ours: it has variables of its own, some with very common names.
      env: { ROOT_ACCESS_KEY: this.accessKeyId, ROOT_SECRET_KEY: this.secretAccessKey },
      log: path.join(this.folder, 'log'),
    });
    this.#process = server;
    // Only this server knows the credentials: an answer cannot be that of another one on the same port.
    await server.untilReady(() => this.#own.send(new ListBucketsCommand()));
  }
}
