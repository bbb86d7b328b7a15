/** The doors for people on the control socket: as for clients, without a token. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CacheError, type Caches } from '../cache/index.ts';
import { cachePath, decodePath, rawPath, rawQuery, sendText, untilClosed } from '../wire/index.ts';
import { findDoor } from './door.ts';
import { sendAnswer } from './door-answer.ts';
import { doors } from './doors.ts';
import { answerOf } from './errors.ts';

/** Whoever asks reads its answer at once. */
const IDLE_MS = 60_000;

/** Whether a request is for such a door, or for the names of all caches; then it is answered. */
export async function answerDoors(
  caches: Caches,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const path = decodePath(rawPath(request.url ?? '/')) ?? '/';
  if (request.method === 'GET' && path === '/caches') {
    const names = caches.list().map(({ name }) => name);
    await sendAnswer(request, response, { status: 200, value: names }, IDLE_MS);
    return true;
  }
  const place = cachePath(path);
  const found = findDoor(doors, request.method ?? '', place?.path ?? '');
  if (place === undefined || found === undefined) return false;
  const cache = caches.get(place.cache);
  const leave = cache?.enter();
  try {
    if (cache === undefined) throw new CacheError('NotFound', 'the server that runs has no cache of this name');
    const { door, name } = found;
    const asked = { name, query: rawQuery(request.url ?? '/'), token: null, isAdmin: true, isAnonymous: false };
    const body = () => jsonOf(request, door.bodyBytes ?? 0);
    await untilClosed(response, async (signal) => {
      const answer = await door.answer(cache, { ...asked, body, signal });
      await sendAnswer(request, response, answer, IDLE_MS);
    });
  } catch (error) {
    const known = answerOf(error);
    if (known === undefined || response.headersSent) throw error;
    sendText(request, response, known);
  } finally {
    leave?.();
  }
  return true;
}

async function jsonOf(request: IncomingMessage, most: number): Promise<unknown> {
  let text = '';
  for await (const piece of request.setEncoding('utf8')) {
    text += piece;
    if (text.length > most) throw new CacheError('TooLarge', `the body has more than ${most} bytes`);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new CacheError('Invalid', 'the body is not JSON');
  }
}
