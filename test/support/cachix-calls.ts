/** Single calls of the Cachix API, for tests that send what no client would. Answers are returned, whatever they are. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { CachixClaim } from './cachix-client.ts';
import type { Pushable } from './cachix-paths.ts';
import { type Reply, send } from './raw-http.ts';
import type { TestServer } from './server.ts';

export const EMPTY = Buffer.alloc(0);

export class Calls {
  readonly server: TestServer;
  readonly cache: string;
  readonly token: string;

  constructor(server: TestServer, token: string, cache = 'main') {
    this.server = server;
    this.token = token;
    this.cache = cache;
  }

  static async as(server: TestServer, token = 'push', cache = 'main'): Promise<Calls> {
    return new Calls(server, await server.token(token, cache), cache);
  }

  /** @param path below the cache */
  call(method: string, path: string, body?: unknown): Promise<Reply> {
    return send(this.server.url, `/api/v1/cache/${this.cache}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}` },
      ...(body !== undefined && { body: Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
    });
  }

  async create(compression = 'zst'): Promise<Upload> {
    const reply = await this.call('POST', `/multipart-nar?compression=${compression}`, EMPTY);
    assert.equal(reply.status, 200, reply.text);
    const { narId, uploadId } = JSON.parse(reply.text) as { narId: string; uploadId: string };
    return new Upload(this, narId, uploadId);
  }

  /** A whole upload up to `complete`, in parts of the given sizes (the last one takes the rest). */
  async uploaded(path: Pushable, sizes: readonly number[] = []): Promise<Upload> {
    const upload = await this.create(path.compression);
    for (const [index, piece] of pieces(path.file, sizes).entries()) await upload.send(index + 1, piece);
    return upload;
  }
}

export class Upload {
  readonly calls: Calls;
  readonly id: string;
  readonly uploadId: string;
  /** By part number, from 1. */
  readonly etags = new Map<number, string>();

  constructor(calls: Calls, id: string, uploadId: string) {
    this.calls = calls;
    this.id = id;
    this.uploadId = uploadId;
  }

  askUrl(number: number | string, piece: Buffer): Promise<Reply> {
    const contentMD5 = md5(piece);
    const path = `/multipart-nar/${this.id}?uploadId=${this.uploadId}&partNumber=${number}`;
    return this.calls.call('POST', path, { contentMD5 });
  }

  /** Path and query of a part's URL. */
  async url(number: number, piece: Buffer): Promise<string> {
    const reply = await this.askUrl(number, piece);
    assert.equal(reply.status, 200, reply.text);
    const { pathname, search } = new URL((JSON.parse(reply.text) as { uploadUrl: string }).uploadUrl);
    return `${pathname}${search}`;
  }

  put(url: string, piece: Buffer, headers: Record<string, string> = {}): Promise<Reply> {
    return send(this.calls.server.url, url, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream', 'content-md5': md5(piece), ...headers },
      body: piece,
    });
  }

  async send(number: number, piece: Buffer): Promise<void> {
    const reply = await this.put(await this.url(number, piece), piece);
    assert.equal(reply.status, 200, reply.text);
    this.etags.set(number, reply.headers.etag ?? '');
  }

  get parts(): { partNumber: number; eTag: string }[] {
    return [...this.etags].sort(([a], [b]) => a - b).map(([partNumber, eTag]) => ({ partNumber, eTag }));
  }

  complete(claim: unknown, parts: unknown = this.parts): Promise<Reply> {
    const path = `/multipart-nar/${this.id}/complete?uploadId=${this.uploadId}`;
    return this.calls.call('POST', path, { parts, narInfoCreate: claim });
  }

  abort(): Promise<Reply> {
    return this.calls.call('POST', `/multipart-nar/${this.id}/abort?uploadId=${this.uploadId}`, EMPTY);
  }
}

/** The claim as it is sent to a managed cache. */
export function claimOf(path: Pushable, fields: Partial<Record<keyof CachixClaim | 'cSig', unknown>> = {}): unknown {
  return { ...path.claim, cSig: null, ...fields };
}

export function md5(piece: Buffer): string {
  return createHash('md5').update(piece).digest('base64');
}

export function pieces(file: Buffer, sizes: readonly number[]): Buffer[] {
  const list: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    list.push(file.subarray(at, at + size));
    at += size;
  }
  return [...list, file.subarray(at)];
}

/** One line of plain text, as every refusal of the API is. */
export function assertRefused(reply: Reply, status: number, text: RegExp): void {
  assert.equal(reply.status, status, reply.text);
  assert.equal(reply.headers['content-type'], 'text/plain; charset=utf-8');
  assert.match(reply.text, /^[ -~]+\n$/);
  assert.match(reply.text, text);
}

/** The path is served with its own bytes; the text of its narinfo. */
export async function assertServed(server: TestServer, path: Pushable, cache = 'main'): Promise<string> {
  const narinfo = await send(server.url, `/api/v1/cache/${cache}/${path.hashPart}.narinfo`);
  assert.equal(narinfo.status, 200, narinfo.text);
  assert.ok(narinfo.text.startsWith(`StorePath: ${path.storePath}\n`), narinfo.text);
  const nar = await send(server.url, `/api/v1/cache/${cache}/${/^URL: (.*)$/m.exec(narinfo.text)?.[1]}`);
  assert.ok(nar.body.equals(path.file), 'the NAR is the one that was pushed');
  return narinfo.text;
}

export async function isPublished(server: TestServer, path: Pushable, cache = 'main'): Promise<boolean> {
  return (await send(server.url, `/api/v1/cache/${cache}/${path.hashPart}.narinfo`, { method: 'HEAD' })).status === 200;
}
