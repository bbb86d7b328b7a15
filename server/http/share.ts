import type { IncomingMessage, ServerResponse } from 'node:http';
import { CacheError } from '../cache/index.ts';
import { type Budget, type Caller, type Claim, currentCaller, type Lease, type Moving } from '../shares/index.ts';
import { clientNetwork, type TrustedProxies } from '../wire/index.ts';

/** In whose name a request takes shares. */
export function callerOf(request: IncomingMessage, cache: string | undefined, proxies: TrustedProxies): Caller {
  return { cache: cache ?? '', client: clientNetwork(proxies.remoteOf(request)) };
}

/**
 * A share for what a client sends, until its answer is out at the latest. It is waited for as long as the client stays,
 * which sends nothing meanwhile: nobody has asked it to go on. @throws CacheError Incomplete where it left
 */
export async function shareOf(budget: Budget, response: ServerResponse, units = 1): Promise<Lease> {
  const claim: Claim = { caller: currentCaller(), units };
  const lease = budget.tryTake(claim) ?? (await untilClosed(response, (signal) => budget.take(claim, signal)));
  response.once('close', lease.release);
  if (!response.closed) return lease;
  lease.release();
  throw gone();
}

/** A share for what a client is sent. Undefined where none came free within `waitMs`, or the client left. */
export async function placeFor(
  budget: Budget,
  caller: Caller,
  response: ServerResponse,
  waitMs: number,
): Promise<Lease | undefined> {
  const claim: Claim = { caller, moving: movingTo(response) };
  const lease = budget.tryTake(claim);
  if (lease !== undefined) return lease;
  try {
    return await untilClosed(response, (signal) =>
      budget.take(claim, AbortSignal.any([signal, AbortSignal.timeout(waitMs)])),
    );
  } catch {
    return undefined;
  }
}

/** What has left for the client; undefined while it is our side that has nothing to send. */
function movingTo(response: ServerResponse): Moving {
  return {
    progress: () => {
      const { socket } = response;
      if (socket === null || (socket.writableLength === 0 && !response.writableNeedDrain)) return undefined;
      return socket.bytesWritten - socket.writableLength;
    },
    revoke: () => response.destroy(),
  };
}

async function untilClosed<T>(response: ServerResponse, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(gone());
  response.once('close', leave);
  try {
    return await work(leaving.signal);
  } finally {
    response.off('close', leave);
  }
}

function gone(): CacheError {
  return new CacheError('Incomplete', 'the connection was lost before the whole body had arrived');
}
