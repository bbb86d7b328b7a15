/** Cachix multipart uploads over HTTP: create, part URL, part, complete, abort. All of them may arrive twice. */
import { createSecretKey, randomBytes } from 'node:crypto';
import {
  CacheError,
  MAX_PARTS,
  type PartClaim,
  type PartGrant,
  type PathClaim,
  parseNarInfoCreate,
  signPart,
  verifyPart,
} from '../cache/index.ts';
import { compressionOfCachixQuery } from '../nix/index.ts';
import { NO_ACCESS } from '../wire/index.ts';
import { arrivingBytes, type BodyLimits, bodyOf, drain, plainLimits, readJson } from './body.ts';
import { allowed, isRecord, sendJson } from './cachix.ts';
import { arrival, type Context, type Services } from './context.ts';
import type { Target } from './front.ts';
import type { Route } from './routes.ts';

const PART = /^\/multipart-nar\/([^/]+)\/part\/([^/]+)$/;
const PART_KEY = 'part urls 1';
/** Signs nothing: the parts of a cache that does not exist are checked with it. */
const NO_PART_KEY = createSecretKey(randomBytes(32));
const URL_JSON_BYTES = 64 * 1024;
/** 10 000 parts of about 70 bytes, and a path with some thousand references. */
const COMPLETE_JSON_BYTES = 2 * 1024 * 1024;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function uploadRoutes(services: Services): Route[] {
  const routes: Route[] = [];
  const { push, small } = plainLimits(services);

  routes.push({
    name: 'upload-create',
    method: 'POST',
    pattern: /^\/multipart-nar$/,
    handle: async (ctx) => {
      const cache = allowed(ctx, 'Write');
      const value = ctx.query.compression;
      const compression = compressionOfCachixQuery(typeof value === 'string' ? value : 'xz');
      if (compression === undefined) throw new CacheError('Invalid', 'compression: expected xz or zst');
      const { id, uploadId } = await cache.uploads.create(compression);
      sendJson(ctx, { narId: id, uploadId });
    },
  });

  routes.push({
    name: 'upload-part-url',
    method: 'POST',
    pattern: /^\/multipart-nar\/([^/]+)$/,
    handle: async (ctx, id) => {
      const cache = allowed(ctx, 'Write');
      const uploadId = uploadIdOf(ctx, id);
      const part = partNumber(ctx.query.partNumber);
      const body = await readJson(ctx.req, ctx.res, { ...small, maxBytes: URL_JSON_BYTES });
      const md5 = md5Of(isRecord(body) ? body.contentMD5 : undefined, 'contentMD5');
      const { url, expiresAt } = await cache.uploads.grant(id, uploadId, part, md5);
      if (url !== undefined) {
        sendJson(ctx, { uploadUrl: url });
        return;
      }
      const grant: PartGrant = { id, uploadId, part, md5, expiresAt };
      const query = new URLSearchParams({
        uploadId,
        md5,
        expires: String(expiresAt),
        signature: signPart(cache.keys.derive(PART_KEY), grant),
      });
      const base = services.urls.cacheByPath(cache.name, ...arrival(services, ctx));
      sendJson(ctx, { uploadUrl: `${base}/multipart-nar/${id}/part/${part}?${query}` });
    },
  });

  // The URL is the credential: the client sends no Authorization here.
  routes.push({
    name: 'upload-part',
    method: 'PUT',
    pattern: PART,
    handle: async (ctx, id, part) => {
      const { cache } = ctx.state.target;
      const grant: PartGrant = {
        id,
        uploadId: text(ctx.query.uploadId),
        part: Number(part),
        md5: text(ctx.query.md5),
        expiresAt: Number(text(ctx.query.expires)),
      };
      // Before all else: who holds no URL of ours does not learn whether there is such a cache.
      const isOurs = verifyPart(cache?.keys.derive(PART_KEY) ?? NO_PART_KEY, grant, text(ctx.query.signature));
      if (cache === undefined || !isOurs) {
        if (cache?.isPublic) throw new CacheError('Unauthorized', 'this part URL is not one of ours');
        throw new CacheError('Unauthorized', NO_ACCESS.text);
      }
      const { uploadId } = grant;
      if (!(grant.expiresAt > Date.now()))
        throw new CacheError('Unauthorized', 'this part URL has expired; start a new upload');
      const header = ctx.get('content-md5');
      if (header !== '' && md5Of(header, 'Content-MD5') !== grant.md5)
        throw new CacheError('Invalid', 'Content-MD5 is not the one that this URL was made for');
      const size = arrivingBytes(ctx.req);
      const body = bodyOf(ctx.req, ctx.res, push);
      const etag = await cache.uploads.putPart(id, uploadId, { number: grant.part, size, md5: grant.md5 }, body);
      await drain(body, cache.resolved.settings.maxPartBytes);
      ctx.set('ETag', `"${etag}"`);
      ctx.body = '';
    },
  });

  routes.push({
    name: 'upload-complete',
    method: 'POST',
    pattern: /^\/multipart-nar\/([^/]+)\/complete$/,
    handle: async (ctx, id) => {
      const cache = allowed(ctx, 'Write');
      const uploadId = uploadIdOf(ctx, id);
      const [parts, claim] = await readCompletion(ctx, small).catch(async (error: unknown) => {
        // Nobody will complete this upload: the client begins again with a new one, and never sends an abort.
        if (isRefusal(error)) await cache.uploads.abort(id, uploadId);
        throw error;
      });
      await cache.uploads.complete(id, uploadId, parts, claim);
      ctx.body = '';
    },
  });

  routes.push({
    name: 'upload-abort',
    method: 'POST',
    pattern: /^\/multipart-nar\/([^/]+)\/abort$/,
    handle: async (ctx, id) => {
      const cache = allowed(ctx, 'Write');
      // Best effort: what is unknown or over already is as good as aborted.
      await cache.uploads.abort(id, text(ctx.query.uploadId));
      ctx.body = '';
    },
  });

  return routes;
}

/** Whether a request is one for a part, whose URL is its credential. */
export function isPart(method: string, { api, path }: Target): boolean {
  return api && method === 'PUT' && PART.test(path);
}

/** The echoed `uploadId` of an upload. @throws CacheError NotFound */
function uploadIdOf(ctx: Context, id: string): string {
  if (!UUID.test(id)) throw new CacheError('NotFound', 'no such upload');
  return text(ctx.query.uploadId);
}

async function readCompletion(ctx: Context, small: BodyLimits): Promise<[PartClaim[], PathClaim]> {
  const body = await readJson(ctx.req, ctx.res, { ...small, maxBytes: COMPLETE_JSON_BYTES });
  if (!isRecord(body)) throw new CacheError('Invalid', 'expected an object with parts and narInfoCreate');
  return [partClaims(body.parts), parseNarInfoCreate(body.narInfoCreate)];
}

/** The body is wrong; one that only stopped arriving may come again. */
function isRefusal(error: unknown): boolean {
  return error instanceof CacheError && error.code !== 'Incomplete' && error.code !== 'TimedOut';
}

function partNumber(value: string | string[] | undefined): number {
  const number = /^\d{1,5}$/.test(text(value)) ? Number(text(value)) : 0;
  if (number < 1 || number > MAX_PARTS) throw new CacheError('Invalid', `partNumber: expected 1 to ${MAX_PARTS}`);
  return number;
}

/** Hex of a base64 MD5. */
function md5Of(value: unknown, field: string): string {
  const bytes =
    typeof value === 'string' && /^[A-Za-z0-9+/]{22}==$/.test(value) ? Buffer.from(value, 'base64') : undefined;
  if (bytes?.length !== 16) throw new CacheError('Invalid', `${field}: expected the base64 of 16 bytes`);
  return bytes.toString('hex');
}

function partClaims(value: unknown): PartClaim[] {
  if (!Array.isArray(value))
    throw new CacheError('Invalid', 'parts: expected a list; a part whose answer had no ETag makes it null');
  if (value.length > MAX_PARTS) throw new CacheError('TooLarge', `parts: at most ${MAX_PARTS}`);
  return value.map((part) => {
    const { partNumber: number, eTag } = isRecord(part) ? part : {};
    if (typeof number !== 'number' || typeof eTag !== 'string')
      throw new CacheError('Invalid', 'parts: expected partNumber and eTag');
    return { number, etag: eTag };
  });
}

function text(value: string | string[] | undefined): string {
  return typeof value === 'string' ? value : '';
}
