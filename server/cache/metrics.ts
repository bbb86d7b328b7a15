/** What a cache reports of its work; the admin door turns it into Prometheus series. */
export interface CacheMetrics {
  /** A path became visible. */
  published(cache: string): void;
  /** A transaction of `writes` writes was committed in `milliseconds`. */
  committed(cache: string, milliseconds: number, writes: number): void;
  /** An object of `bytes` was moved out of a storage. */
  moved(cache: string, storage: string, bytes: number): void;
  /** A collection is over, or waits to be confirmed. */
  collected(
    cache: string,
    run: { result: 'held' | 'done' | 'failed'; milliseconds: number; paths: number; bytes: number },
  ): void;
  /** A request to S3 went out; status 0: no answer came. */
  s3Request(cache: string, storage: string, request: { operation: string; status: number; milliseconds: number }): void;
}
