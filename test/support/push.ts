/** Pushes by both protocols, each as short as it can be, and a look at what is served afterwards. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { formatHash, sha256 } from '../../server/nix/index.ts';
import { narInfoCreate, type TestPath } from './nars.ts';

export interface PushOptions {
  readonly cache?: string;
  /** Parts of a Cachix upload. */
  readonly parts?: number;
  /** Numbers of the parts in the order in which they are sent; default: 1, 2, 3 ... */
  readonly order?: readonly number[];
}

/** Where a cache is found, and with which tokens. */
export interface PushTarget {
  readonly url: string;
  api(cache?: string): string;
  auth(token?: string, cache?: string): Promise<Record<string, string>>;
}

/** Resolves once the server has acknowledged the path. */
export type Push = (server: PushTarget, path: TestPath, options?: PushOptions) => Promise<void>;

/** An answer that is not 200. */
export class Refusal extends Error {
  readonly status: number;
  readonly text: string;
  constructor(status: number, text: string) {
    super(`${status}: ${text}`);
    this.status = status;
    this.text = text;
  }
}

async function must(response: Response): Promise<Response> {
  if (response.status !== 200) throw new Refusal(response.status, await response.text());
  return response;
}

/** As `nix copy` does: the NAR, then the narinfo. */
export const pushByPut: Push = async (server, path, { cache = 'main' } = {}) => {
  const init = { method: 'PUT', headers: await server.auth('push', cache) };
  const base = `${server.api(cache)}/push`;
  await (await must(await fetch(`${base}/${path.narUrl}`, { ...init, body: path.file }))).text();
  await (await must(await fetch(`${base}/${path.hashPart}.narinfo`, { ...init, body: path.narinfo }))).text();
};

/** A Cachix multipart upload. */
export const pushByCachix: Push = async (server, path, options = {}) => {
  const upload = await createUpload(server, options.cache);
  const etags = await sendParts(upload, path, options);
  await completeUpload(upload, path, etags);
};

export interface OpenUpload {
  readonly server: PushTarget;
  /** `<api>/multipart-nar/<id>` */
  readonly url: string;
  readonly uploadId: string;
  readonly headers: Readonly<Record<string, string>>;
}

export async function createUpload(server: PushTarget, cache = 'main', compression = 'zst'): Promise<OpenUpload> {
  const headers = await server.auth('push', cache);
  const url = `${server.api(cache)}/multipart-nar`;
  const response = await must(await fetch(`${url}?compression=${compression}`, { method: 'POST', headers }));
  const { narId, uploadId } = (await response.json()) as { narId: string; uploadId: string };
  return { server, url: `${url}/${narId}`, uploadId, headers };
}

/** Where a part goes: straight to S3, or to the server at the address that the test knows. */
export async function partUrl(upload: OpenUpload, number: number, piece: Uint8Array): Promise<string> {
  const contentMD5 = createHash('md5').update(piece).digest('base64');
  const response = await must(
    await fetch(`${upload.url}?partNumber=${number}&uploadId=${upload.uploadId}`, {
      method: 'POST',
      headers: upload.headers,
      body: JSON.stringify({ contentMD5 }),
    }),
  );
  const { uploadUrl } = (await response.json()) as { uploadUrl: string };
  const { pathname, search } = new URL(uploadUrl);
  if (!pathname.startsWith('/api/')) return uploadUrl;
  return `${upload.server.url}${pathname}${search}`;
}

/** Sends one part; its ETag. */
export async function sendPart(upload: OpenUpload, number: number, piece: Buffer): Promise<string> {
  const url = await partUrl(upload, number, piece);
  const headers = { 'content-md5': createHash('md5').update(piece).digest('base64') };
  const response = await must(await fetch(url, { method: 'PUT', body: new Uint8Array(piece), headers }));
  await response.text();
  return response.headers.get('etag') ?? '';
}

/** Sends all parts, one after the other; the ETags by part. */
export async function sendParts(upload: OpenUpload, path: TestPath, options: PushOptions = {}): Promise<string[]> {
  const { parts = 1 } = options;
  const size = Math.ceil(path.file.length / parts);
  const order = options.order ?? Array.from({ length: parts }, (_, index) => index + 1);
  const etags: string[] = [];
  for (const number of order) {
    etags[number - 1] = await sendPart(upload, number, path.file.subarray((number - 1) * size, number * size));
  }
  return etags;
}

export async function completeUpload(upload: OpenUpload, path: TestPath, etags: readonly string[]): Promise<void> {
  const parts = etags.map((eTag, index) => ({ partNumber: index + 1, eTag }));
  const response = await fetch(`${upload.url}/complete?uploadId=${upload.uploadId}`, {
    method: 'POST',
    headers: upload.headers,
    body: JSON.stringify({ parts, narInfoCreate: narInfoCreate(path) }),
  });
  await (await must(response)).text();
}

/** Whether the path is published; where it is, its NAR must be there, whole and right. */
export async function isServed(server: PushTarget, path: TestPath, cache = 'main'): Promise<boolean> {
  const narinfo = await fetch(`${server.api(cache)}/${path.hashPart}.narinfo`);
  const text = await narinfo.text();
  if (narinfo.status === 404) return false;
  assert.equal(narinfo.status, 200, text);
  const url = /^URL: (.*)$/m.exec(text)?.[1];
  const nar = await fetch(`${server.api(cache)}/${url}`);
  assert.equal(nar.status, 200, `${path.storePath} has a narinfo and no NAR`);
  const bytes = Buffer.from(await nar.arrayBuffer());
  assert.equal(formatHash(sha256(bytes)), path.fileHash, `${path.storePath} is served with other bytes`);
  return true;
}
