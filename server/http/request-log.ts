/** The line at level debug that each request has. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { requestIdOf } from '../wire/index.ts';
import type { Services } from './context.ts';

/** Writes a request's line once its answer is out. `route` is asked then. */
export function trace(
  services: Services,
  requestId: string,
  route: () => string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const started = performance.now();
  response.once('close', () => {
    services.logger.debug(
      {
        requestId,
        remote: services.proxies.remoteOf(request),
        method: request.method,
        path: request.url?.split('?', 1)[0],
        route: route(),
        status: response.statusCode,
        ms: Math.round(performance.now() - started),
      },
      'request',
    );
  });
}

/**
 * Gives a hot read its id and its line. Only at level debug: plain reads come by the ten thousand a second, and an id
 * that no line has helps nobody.
 */
export function traceRead(services: Services, route: string, request: IncomingMessage, response: ServerResponse): void {
  const requestId = requestIdOf(request);
  response.setHeader('X-Request-Id', requestId);
  trace(services, requestId, () => route, request, response);
}
