/** A proxy in front of an S3 server that knows the operations of S3: counts them, delays them, lets them fail. */
import { type Cut, type Fault, FaultProxy, type Seen } from './fault-proxy.ts';

const OPERATIONS = [
  'PutObject',
  'GetObject',
  'HeadObject',
  'DeleteObject',
  'DeleteObjects',
  'ListObjectsV2',
  'CreateMultipartUpload',
  'UploadPart',
  'CompleteMultipartUpload',
  'AbortMultipartUpload',
  'ListParts',
  'ListMultipartUploads',
  'Other',
] as const;

export type S3Operation = (typeof OPERATIONS)[number];

export interface S3Request extends Seen {
  readonly operation: S3Operation;
  readonly bucket: string;
  /** Decoded; empty for operations on the bucket. */
  readonly key: string;
}

/** Decides on each request; undefined lets it pass. */
export type S3Fate = (request: S3Request) => Fault | Cut | undefined;

export class S3Proxy {
  fate: S3Fate = () => undefined;
  /** Every request, in order of arrival. */
  readonly seen: S3Request[] = [];
  readonly #proxy: FaultProxy;

  private constructor(proxy: FaultProxy) {
    this.#proxy = proxy;
  }

  /** In front of `endpoint`, as in `http://127.0.0.1:9000`. */
  static async start(endpoint: string): Promise<S3Proxy> {
    const proxy = await FaultProxy.start();
    proxy.target = endpoint;
    const s3 = new S3Proxy(proxy);
    proxy.fate = (seen) => {
      const request = s3Request(seen);
      s3.seen.push(request);
      return s3.fate(request);
    };
    return s3;
  }

  /** `http://127.0.0.1:port`, in place of the server's own. */
  get endpoint(): string {
    return this.#proxy.url.replace('localhost', '127.0.0.1');
  }

  /** How long each request waits here before it goes on. */
  set latencyMs(latencyMs: number) {
    this.#proxy.latencyMs = latencyMs;
  }

  /** How many requests there were, of one operation or of each that there was. */
  count(operation: S3Operation): number {
    return this.seen.filter((request) => request.operation === operation).length;
  }

  counts(): Partial<Record<S3Operation, number>> {
    const all = OPERATIONS.map((operation) => [operation, this.count(operation)] as const);
    return Object.fromEntries(all.filter(([, count]) => count > 0));
  }

  /** Forgets what it has seen. */
  reset(): void {
    this.seen.length = 0;
  }

  close(): Promise<void> {
    return this.#proxy.close();
  }
}

/** An error as S3 writes it, such as `s3Error(503, 'SlowDown')`. Nothing reaches the server unless `forward` is set. */
export function s3Error(status: number, code: string, { forward = false } = {}): Fault {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>a fault of the test</Message></Error>`;
  return { status, body, forward, headers: { 'Content-Type': 'application/xml' } };
}

/** Fates for requests of one operation, one by one; then all pass. */
export function s3InTurn(operation: S3Operation, faults: readonly (Fault | Cut)[]): S3Fate {
  const left = [...faults];
  return (request) => (request.operation === operation ? left.shift() : undefined);
}

function s3Request(seen: Seen): S3Request {
  const { pathname, searchParams } = new URL(seen.url, 'http://s3');
  const [, bucket = '', ...words] = pathname.split('/');
  const key = decodeURIComponent(words.join('/'));
  return { ...seen, operation: operationOf(seen.method, key, searchParams), bucket, key };
}

function operationOf(method: string, key: string, query: URLSearchParams): S3Operation {
  const on = key === '' ? 'bucket' : 'object';
  // The parameter that tells operations of one method apart; the first that a request has.
  const marker = ['uploads', 'uploadId', 'delete', 'list-type'].find((name) => query.has(name)) ?? '';
  return TABLE[`${method} ${on} ${marker}`.trim()] ?? 'Other';
}

const TABLE: Readonly<Record<string, S3Operation>> = {
  'PUT object': 'PutObject',
  'GET object': 'GetObject',
  'HEAD object': 'HeadObject',
  'DELETE object': 'DeleteObject',
  'POST bucket delete': 'DeleteObjects',
  'GET bucket list-type': 'ListObjectsV2',
  'POST object uploads': 'CreateMultipartUpload',
  'PUT object uploadId': 'UploadPart',
  'POST object uploadId': 'CompleteMultipartUpload',
  'DELETE object uploadId': 'AbortMultipartUpload',
  'GET object uploadId': 'ListParts',
  'GET bucket uploads': 'ListMultipartUploads',
};
