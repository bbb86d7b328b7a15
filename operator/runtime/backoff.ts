/** Waiting times that double: `baseMs`, twice that, and so on up to `maxMs`, each up to a tenth shorter or longer. */
export interface Backoff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** How long to wait after the failure number `failures` (from 1) in a row; a server's wish is the least. */
export function backoffMs({ baseMs, maxMs }: Backoff, failures: number, atLeastMs = 0, random = Math.random): number {
  // More would be infinite.
  const doublings = Math.min(failures - 1, 30);
  const waitMs = Math.min(baseMs * 2 ** doublings, maxMs);
  // What a server wishes is not undercut.
  return Math.max(waitMs * (0.9 + random() / 5), atLeastMs * (1 + random() / 5));
}
