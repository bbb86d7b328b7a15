/**
 * The two hot routes, narinfo and NAR by GET and HEAD, on bare `http` objects. koa would cost a tenth of the hits and
 * half of the misses (measured with wrk), so the server asks here first; the same functions stand behind koa's routes
 * for addresses that need decoding.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Asker, BinaryCache, Narinfo, StoredObject } from '../cache/index.ts';
import type { RealisationKey } from '../nix/index.ts';
import type { Budget } from '../shares/index.ts';
import {
  type Answer,
  type Networks,
  NO_ACCESS,
  placeFor,
  sendMiss,
  sendText,
  type TrustedProxies,
} from '../wire/index.ts';
import { mayWrite, readAccess } from './access.ts';
import { answerOf } from './errors.ts';
import { internalPlace, sendsFiles } from './hand-over.ts';
import type { Lookups, Metrics } from './metrics.ts';
import { parseRange } from './range.ts';
import { sendBody, sendWhole } from './send-body.ts';
import { callerOf } from './share.ts';

const IMMUTABLE = 'max-age=31536000, immutable';
const NARINFO_AGE = 'max-age=3600';

/** Who asks at an address inside a cache: a nix that pushes reads where it writes. */
export function askerAt(path: string): Asker {
  return path.startsWith('/push/') ? 'pusher' : 'reader';
}

export type ReadRoute = 'narinfo' | 'nar' | 'aux';

/** Clients repeat a read by themselves; a push they may not be able to, which is why pushes wait and reads are sent away. */
const BUSY: Answer = { status: 503, text: 'temporarily unavailable', retryAfterSeconds: 5 };

export interface ReadLimits {
  /** Places for files that are sent at one time. */
  readonly downloads: Budget;
  /** How long a read waits for one. */
  readonly waitMs: number;
  /** A client that takes no byte for this long is cut off, whether others wait or not. */
  readonly idleMs: number;
  readonly proxies: TrustedProxies;
  /** Proxies on this machine that send files by themselves. */
  readonly fileSenders: Networks;
}

export class Reader {
  readonly #metrics: Metrics;
  readonly #limits: ReadLimits;

  constructor(metrics: Metrics, limits: ReadLimits) {
    this.#metrics = metrics;
    this.#limits = limits;
  }

  /** Places for files that are sent. */
  get downloads(): Budget {
    return this.#limits.downloads;
  }

  /** Answers for one narinfo. @param place the cache; undefined for a name that none has, which only strangers ask for */
  narinfo(
    place: BinaryCache | undefined,
    hashPart: string,
    asker: Asker,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const cache = this.#admit(place, request, response);
    if (cache === undefined) return;
    const { memory, database } = this.#metrics.narinfos;
    // Below /push too a reader is one.
    const who = asker === 'pusher' && mayWrite(cache, request) ? 'pusher' : 'reader';
    const known = cache.paths.peek(hashPart, who);
    // A pusher gets back what is retired.
    if (known !== undefined && !(who === 'pusher' && known === 'missing')) {
      this.#answerNarinfo(cache, known, memory, request, response);
      return;
    }
    findFor(cache, hashPart, who).then(
      (found) => this.#answerNarinfo(cache, found ?? 'missing', database, request, response),
      (error: unknown) => this.fail(error, 'narinfo', request, response),
    );
  }

  /** Answers for an object that is served as it came: NARs, logs, listings and the rest. */
  object(
    place: BinaryCache | undefined,
    key: string,
    route: ReadRoute,
    contentType: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const cache = this.#admit(place, request, response);
    if (cache === undefined) return;
    this.#serve(cache, key, route, contentType, request, response).catch((error: unknown) =>
      this.fail(error, route, request, response),
    );
  }

  /** Answers for a realisation, which is signed on its way. */
  realisation(
    place: BinaryCache | undefined,
    name: string,
    key: RealisationKey,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const cache = this.#admit(place, request, response);
    if (cache === undefined) return;
    cache.realisations.read(name, key).then(
      (body) => {
        if (body === undefined) sendMiss(request, response);
        else {
          const scope = cache.isPublic ? 'public' : 'private';
          response.writeHead(200, {
            'Content-Type': 'application/json',
            'Content-Length': body.length,
            'Cache-Control': `${scope}, ${NARINFO_AGE}`,
            'X-Content-Type-Options': 'nosniff',
          });
          response.end(request.method === 'HEAD' ? undefined : body);
        }
        this.#metrics.answered('aux', response.statusCode);
      },
      (error: unknown) => this.fail(error, 'aux', request, response),
    );
  }

  /** An error on a bare route; when the head is out already, only cutting the connection tells the client. */
  fail(error: unknown, route: string, request: IncomingMessage, response: ServerResponse): void {
    const answer = answerOf(error);
    if (answer === undefined || answer.status >= 500)
      // Without its query, where people put what no log should hold.
      this.#metrics.logger.warn({ err: error, path: request.url?.split('?', 1)[0] }, 'read failed');
    if (response.headersSent) {
      response.destroy();
      return;
    }
    sendText(request, response, answer ?? { status: 500, text: 'internal error' });
    this.#metrics.answered(route, response.statusCode);
  }

  /** The cache, if the request may read it; else it is answered. */
  #admit(cache: BinaryCache | undefined, request: IncomingMessage, response: ServerResponse): BinaryCache | undefined {
    const access = readAccess(cache, request);
    if (access.allowed) return cache;
    if (access.why === 'anonymous') sendMiss(request, response);
    else if (access.why === 'unknown') sendText(request, response, NO_ACCESS);
    else sendText(request, response, { status: 401, text: `cache ${cache?.name}: ${access.text}` });
    this.#metrics.answered('read', response.statusCode);
    return undefined;
  }

  #answerNarinfo(
    cache: BinaryCache,
    narinfo: Narinfo | 'missing',
    lookups: Lookups,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    if (narinfo === 'missing') {
      sendMiss(request, response);
      lookups.misses++;
      return;
    }
    if (cache.uses.isDue(narinfo)) cache.uses.touch(narinfo.hashPart);
    const cacheControl = cache.isPublic ? `public, ${NARINFO_AGE}` : `private, ${NARINFO_AGE}`;
    if (isKnown(request, narinfo.etag)) {
      response.writeHead(304, ['ETag', narinfo.etag, 'Cache-Control', cacheControl]);
      response.end();
      this.#metrics.answered('narinfo', 304);
      return;
    }
    response.writeHead(200, [
      'Content-Type',
      'text/x-nix-narinfo',
      'Content-Length',
      String(narinfo.body.length),
      'Cache-Control',
      cacheControl,
      'ETag',
      narinfo.etag,
    ]);
    response.end(request.method === 'HEAD' ? undefined : narinfo.body);
    lookups.hits++;
  }

  async #serve(
    cache: BinaryCache,
    key: string,
    route: ReadRoute,
    contentType: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const object = cache.objects.cached(key) ?? (await cache.objects.find(key));
    if (object === undefined) {
      sendMiss(request, response);
      this.#metrics.answered(route, 404);
      return;
    }
    if (route === 'nar' && cache.uses.isDue(object)) cache.uses.touchNar(object.id);
    const headers = objectHeaders(cache, object, route, contentType);
    if (headers.ETag !== undefined && isKnown(request, headers.ETag)) {
      response.writeHead(304, { ETag: headers.ETag, 'Cache-Control': headers['Cache-Control'] });
      response.end();
      this.#metrics.answered(route, 304);
      return;
    }
    if (request.method === 'GET' && sendsFiles(request, this.#limits.fileSenders)) {
      const place = await internalPlace(cache, object);
      if (place !== undefined) {
        response.writeHead(200, { ...headers, 'X-Accel-Redirect': place });
        response.end();
        this.#metrics.answered(route, 200);
        return;
      }
    }
    const ranged = { ...headers, 'Accept-Ranges': 'bytes' };
    const range = parseRange(request.headers.range, object.size);
    if (range === 'unsatisfiable') {
      response.writeHead(416, { ...ranged, 'Content-Range': `bytes */${object.size}`, 'Content-Length': 0 });
      response.end();
      this.#metrics.answered(route, 416);
      return;
    }
    if (route === 'nar' && request.method === 'GET' && (await this.#redirect(cache, object, response))) return;
    const { start, end } = range ?? { start: 0, end: object.size - 1 };
    const status = range === undefined ? 200 : 206;
    const length = end - start + 1;
    const head = {
      ...ranged,
      'Content-Length': length,
      ...(range && { 'Content-Range': `bytes ${start}-${end}/${object.size}` }),
    };
    // What HEAD promises, GET must be able to give: a pusher asks nothing else.
    if (request.method === 'HEAD' && !(await isPromised(cache, object, route, request))) {
      sendMiss(request, response);
      this.#metrics.answered(route, 404);
      return;
    }
    if (request.method === 'HEAD' || length === 0) {
      response.writeHead(status, head);
      response.end();
      this.#metrics.answered(route, status);
      return;
    }
    const { downloads, waitMs, proxies } = this.#limits;
    const release = cache.enter();
    const place = await placeFor(downloads, callerOf(request, cache.name, proxies), response, waitMs);
    try {
      if (place === undefined) {
        sendText(request, response, BUSY);
        this.#metrics.readsShed++;
        this.#metrics.answered(route, BUSY.status);
        return;
      }
      const body = await cache.objects.read(object, { start, end });
      response.writeHead(status, head);
      this.#metrics.answered(route, status);
      this.#metrics.bytesSent += length;
      if (Buffer.isBuffer(body)) {
        sendWhole(body, response);
        return;
      }
      response.setTimeout(this.#limits.idleMs, () => response.destroy());
      if (!(await sendBody(body, length, response))) await cache.objects.isWhole(object);
    } finally {
      place?.release();
      release();
    }
  }

  /** Sends a client to where the bytes are, if it can read them there. The same URL may lead elsewhere tomorrow. */
  async #redirect(cache: BinaryCache, object: StoredObject, response: ServerResponse): Promise<boolean> {
    const url = await cache.objects.readUrl(object);
    if (url === undefined) return false;
    response.writeHead(302, { Location: url, 'Content-Length': 0, 'Cache-Control': 'no-store' });
    response.end();
    this.#metrics.answered('nar', 302);
    return true;
  }
}

function objectHeaders(
  cache: BinaryCache,
  object: StoredObject,
  route: ReadRoute,
  contentType: string,
): { 'Cache-Control': string; ETag?: string; [name: string]: string | undefined } {
  const scope = cache.isPublic ? 'public' : 'private';
  return {
    'Content-Type': contentType,
    // A NAR's URL never changes its bytes; a log may be pushed again.
    'Cache-Control': route === 'nar' ? `${scope}, ${IMMUTABLE}` : `${scope}, ${NARINFO_AGE}`,
    ...(route === 'nar' && { ETag: `"${object.key.slice('nar/'.length)}"` }),
    'X-Content-Type-Options': 'nosniff',
  };
}

async function findFor(cache: BinaryCache, hashPart: string, asker: Asker): Promise<Narinfo | undefined> {
  const found = await cache.paths.find(hashPart, asker);
  if (found !== undefined || asker !== 'pusher') return found;
  const revived = await cache.paths.revive([hashPart]);
  return revived.length > 0 ? cache.paths.find(hashPart, asker) : undefined;
}

/** Whether an object will be there for who asked by HEAD. Whoever may push a NAR asks so, and sends only its narinfo then. */
async function isPromised(
  cache: BinaryCache,
  object: StoredObject,
  route: ReadRoute,
  request: IncomingMessage,
): Promise<boolean> {
  if (!(await cache.objects.isWhole(object))) return false;
  return route !== 'nar' || !mayWrite(cache, request) || cache.nars.keep(object.id);
}

/** Whether the client has these bytes: `If-None-Match` is a list, and a proxy may have marked the tag as weak. */
function isKnown(request: IncomingMessage, etag: string): boolean {
  const header = request.headers['if-none-match'];
  if (header === undefined) return false;
  return header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}
