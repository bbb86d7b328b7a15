/** The doors of pins on the control socket: as for clients, without a token. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CacheError, type Caches } from '../cache/index.ts';
import { cachePath, decodePath, rawPath, sendText } from '../wire/index.ts';
import { answerOf } from './errors.ts';
import { sendJsonList } from './json-list.ts';
import { PIN_JSON_BYTES, pinDoors } from './pins.ts';

/** Whoever asks reads its answer at once. */
const IDLE_MS = 60_000;

/** Whether a request is for a door of pins; then it is answered. */
export async function answerPins(caches: Caches, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const place = cachePath(decodePath(rawPath(request.url ?? '/')) ?? '/');
  for (const { method, pattern, answer } of place === undefined ? [] : pinDoors) {
    const match = method === request.method ? pattern.exec(place?.path ?? '') : null;
    if (match === null) continue;
    const cache = caches.get(place?.cache ?? '');
    const leave = cache?.enter();
    try {
      if (cache === undefined) throw new CacheError('NotFound', 'the server that runs has no cache of this name');
      const asking = { name: match[1] ?? '', body: () => jsonOf(request), token: null, isAdmin: true };
      const pages = await answer(cache, asking);
      if (pages === undefined) response.writeHead(200, { 'Content-Length': 0 }).end();
      else await sendJsonList(request, response, pages, IDLE_MS);
    } catch (error) {
      const known = answerOf(error);
      if (known === undefined || response.headersSent) throw error;
      sendText(request, response, known);
    } finally {
      leave?.();
    }
    return true;
  }
  return false;
}

async function jsonOf(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const piece of request.setEncoding('utf8')) {
    text += piece;
    if (text.length > PIN_JSON_BYTES) throw new CacheError('TooLarge', 'too much JSON for a pin');
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new CacheError('Invalid', 'the body is not JSON');
  }
}
