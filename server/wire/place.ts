/** Places for answers: what a client is sent takes one for as long as it lasts. */
import type { ServerResponse } from 'node:http';
import type { Budget, Caller, Claim, Lease, Moving } from '../shares/index.ts';

/** The client left while it waited. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
}

/** Does what lasts no longer than the client stays. @throws ClientGoneError, by the signal */
export async function untilClosed<T>(response: ServerResponse, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(new ClientGoneError('the client has gone'));
  response.once('close', leave);
  try {
    return await work(leaving.signal);
  } finally {
    response.off('close', leave);
  }
}

/** A place for what a client is sent. Undefined where none came free within `waitMs`, or the client left. */
export async function placeFor(
  budget: Budget,
  caller: Caller,
  response: ServerResponse,
  waitMs: number,
): Promise<Lease | undefined> {
  const claim: Claim = { caller, moving: movingTo(response) };
  const place = budget.tryTake(claim);
  if (place !== undefined) return place;
  const lease = await untilClosed(response, (signal) =>
    budget.take(claim, AbortSignal.any([signal, AbortSignal.timeout(waitMs)])),
  ).catch(() => undefined);
  if (!response.closed) return lease;
  // It left in the moment in which it was served: nothing tells of that again.
  lease?.release();
  return undefined;
}

/** What has left for the client; undefined while it is our side that has nothing to send. */
export function movingTo(response: ServerResponse): Moving {
  return {
    progress: () => {
      // Behind another answer that its client does not take, one has no connection of its own yet.
      const socket = response.socket ?? response.req.socket;
      const isFull = response.socket !== null && response.writableNeedDrain;
      return socket.writableLength > 0 || isFull ? socket.bytesWritten - socket.writableLength : undefined;
    },
    revoke: () => {
      response.destroy();
      if (response.socket === null) response.req.socket.destroy();
    },
  };
}
