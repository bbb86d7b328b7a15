import type { IncomingMessage, ServerResponse } from 'node:http';
import { CacheError } from '../cache/index.ts';
import { type Budget, type Caller, type Claim, currentCaller, type Lease } from '../shares/index.ts';
import { ClientGoneError, clientNetwork, type TrustedProxies, untilClosed } from '../wire/index.ts';

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
  try {
    const lease = budget.tryTake(claim) ?? (await untilClosed(response, (signal) => budget.take(claim, signal)));
    response.once('close', lease.release);
    if (!response.closed) return lease;
    lease.release();
    throw new ClientGoneError('the client has gone');
  } catch (error) {
    if (!(error instanceof ClientGoneError)) throw error;
    throw new CacheError('Incomplete', 'the connection was lost before the whole body had arrived', { cause: error });
  }
}
