/** What the gateway itself answers with. Like a server's answers: one line, and nothing of what is behind. */
import type { Answer } from '../wire/index.ts';

/** No connection to the cache's servers could be made. */
export function unreachable(cache: string): Answer {
  return { status: 503, text: `cache ${cache} is not reachable now; try again in a moment`, retryAfterSeconds: 5 };
}

/** A connection ended without an answer, so nobody knows what became of the request. */
export function broken(cache: string): Answer {
  return { status: 502, text: `cache ${cache} ended the connection without an answer`, retryAfterSeconds: 1 };
}

export function busy(cache: string): Answer {
  return { status: 503, text: `cache ${cache} has too many requests at one time`, retryAfterSeconds: 5 };
}

/** No routing table has been read yet. */
export const starting: Answer = { status: 503, text: 'starting; try again in a moment', retryAfterSeconds: 1 };

/** Two addresses in one request: whoever reads it next may read the other. */
export const twoHosts: Answer = { status: 400, text: 'a request has one Host header' };
