/**
 * Who asks for a share. A door knows the cache and the client of a request; what is shared out lies in rooms that know of
 * neither (memory on its way to S3, threads that verify). So it is passed along with the asynchronous call.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Caller {
  /** Name of the cache; empty for work of the process's own. */
  readonly cache: string;
  /** The client's address, or the network that stands for it. */
  readonly client: string;
  /** The body that it sends now, once that has begun. */
  body?: Moving;
}

/** Bytes that come from a client or go to one. */
export interface Moving {
  /** Bytes so far; undefined while it is not the client that is waited for. */
  progress(): number | undefined;
  /** Ends it: it stood still, and others wait. */
  revoke(): void;
}

const current = new AsyncLocalStorage<Caller>();
/** Work in the background is nobody's, and counts as one client of one cache. */
const NOBODY: Caller = { cache: '', client: '' };

/** Does `work`, and all that it begins, in the name of `caller`. */
export function asCaller<T>(caller: Caller, work: () => T): T {
  return current.run(caller, work);
}

/** Says what the caller sends, so that whoever shares something out sees when that stands still. */
export function sends(body: Moving): void {
  const caller = current.getStore();
  if (caller !== undefined) caller.body = body;
}

export function currentCaller(): Caller {
  return current.getStore() ?? NOBODY;
}
