/**
 * Sends what the official client sent, letter by letter: request lines, header names, values and order, the shape of
 * JSON, connections. What a recording cannot know (ids, URLs, hashes, lengths) is filled in from our own paths and from
 * the server's answers.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { publicKeyOf, signPath } from './cachix-client.ts';
import type { Pushable } from './cachix-paths.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface RecordedRequest {
  readonly connection: number;
  /** Method and target, with `{...}` for what differs from run to run. */
  readonly line: string;
  /** Which set of headers. */
  readonly headers: string;
  readonly body?: Json;
  readonly answered: number;
}

export interface Scenario {
  readonly name: string;
  readonly requests: readonly RecordedRequest[];
}

interface Recording {
  readonly client: string;
  readonly headers: Readonly<Record<string, readonly (readonly [string, string])[]>>;
  readonly scenarios: readonly Scenario[];
}

export interface Answer {
  readonly line: string;
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly text: string;
}

export interface ReplayInit {
  /** Where to connect. */
  readonly port: number;
  /** Value of `Host`. */
  readonly host: string;
  readonly token: string;
  /** The paths that are pushed, in the order in which the scenario names them first. */
  readonly paths?: readonly Pushable[];
  readonly signingKey?: string;
}

const RECORDING = JSON.parse(
  readFileSync(new URL('recordings/cachix-1.11.1.json', import.meta.url), 'utf8'),
) as Recording;

export const scenarios = RECORDING.scenarios;

export function scenario(name: string): Scenario {
  const found = scenarios.find((it) => it.name === name);
  if (found === undefined) throw new Error(`no scenario ${name}`);
  return found;
}

/** Carries out all requests of a scenario, in order. The answers. */
export async function replay(recorded: Scenario, init: ReplayInit): Promise<Answer[]> {
  const session = new Session(init);
  try {
    const answers: Answer[] = [];
    for (const request of recorded.requests) answers.push(await session.send(request));
    return answers;
  } finally {
    session.close();
  }
}

/** One upload, as far as it has come; each connection has one at a time. */
interface Upload {
  narId: string;
  uploadId: string;
  uploadUrl: string;
  location: string;
  partNumber: number;
  offset: number;
  readonly etags: string[];
}

class Session {
  readonly #init: ReplayInit;
  readonly #connections = new Map<number, RawConnection>();
  readonly #uploads = new Map<number, Upload>();

  constructor(init: ReplayInit) {
    this.#init = init;
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }

  async send(request: RecordedRequest): Promise<Answer> {
    const { host, port, token, signingKey, paths = [] } = this.#init;
    const [method = '', target = ''] = request.line.split(' ');
    if (request.headers === 'create') this.#uploads.set(request.connection, newUpload());
    const upload = this.#uploads.get(request.connection) ?? newUpload();
    const partNumber = /partNumber=(\d+)/.exec(target)?.[1];
    if (partNumber !== undefined) {
      upload.partNumber = Number(partNumber);
      upload.offset = upload.etags.length === 0 ? 0 : upload.offset;
    }
    const path = this.#pathOf(request);
    const size = this.#partSize(request) ?? 0;
    const piece = path?.file.subarray(upload.offset, upload.offset + size) ?? Buffer.alloc(0);
    const values: Record<string, Json> = {
      '{narId}': upload.narId,
      '{uploadId}': upload.uploadId,
      '{uploadUrl}': upload.uploadUrl,
      '{location}': upload.location,
      '{token}': token,
      '{host}': host,
      '{publicKey}': signingKey === undefined ? '' : publicKeyOf(signingKey),
      '{signature}': signingKey === undefined || path === undefined ? '' : signPath(signingKey, path.claim),
      '{narHash}': path?.claim.cNarHash ?? '',
      '{narSize}': path?.claim.cNarSize ?? 0,
      '{fileHash}': path?.claim.cFileHash ?? '',
      '{fileSize}': path?.claim.cFileSize ?? 0,
      '{references}': path?.claim.cReferences ?? [],
      '{md5}': createHash('md5').update(piece).digest('base64'),
    };
    for (const [index, it] of paths.entries()) {
      values[`{hash:${index}}`] = it.hashPart;
      values[`{storePath:${index}}`] = it.storePath;
    }
    const body = method === 'PUT' ? piece : encode(request, upload, values);
    values['{length}'] = String(body.length);
    const url = new URL(fill(target, values), `http://${host}`);
    const headers = (RECORDING.headers[request.headers] ?? []).map(([name, value]) => {
      return `${name}: ${name === 'Host' ? url.host : fill(value, values)}`.trimEnd();
    });
    let connection = this.#connections.get(request.connection);
    if (connection === undefined) {
      connection = new RawConnection(port);
      this.#connections.set(request.connection, connection);
    }
    const head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
    const answer = await connection.send(request.line, Buffer.concat([Buffer.from(head, 'latin1'), body]));
    learn(upload, request, answer, size);
    return answer;
  }

  /** The path that a connection is pushing: the one that its next `complete` names. */
  #pathOf(request: RecordedRequest): Pushable | undefined {
    const complete = this.#next(request, (it) => it.line.includes('/complete'));
    const index = /"cStoreHash":"\{hash:(\d+)\}"/.exec(JSON.stringify(complete?.body ?? null))?.[1];
    return this.#init.paths?.[Number(index ?? 0)];
  }

  /** Bytes of the part that is meant: a part's URL is asked for by its MD5, so its size must be known before. */
  #partSize(request: RecordedRequest): number | undefined {
    const put = this.#next(request, (it) => it.headers === 'put');
    const { body } = put ?? {};
    return typeof body === 'object' && body !== null && 'bytes' in body && typeof body.bytes === 'number'
      ? body.bytes
      : undefined;
  }

  /** This request, or the first one after it on the same connection, that `matches`. */
  #next(request: RecordedRequest, matches: (it: RecordedRequest) => boolean): RecordedRequest | undefined {
    const all = scenarios.find((it) => it.requests.includes(request))?.requests ?? [];
    return all.slice(all.indexOf(request)).find((it) => it.connection === request.connection && matches(it));
  }
}

function newUpload(): Upload {
  return { narId: '', uploadId: '', uploadUrl: '', location: '', partNumber: 0, offset: 0, etags: [] };
}

/** Takes from an answer what later requests need. */
function learn(upload: Upload, request: RecordedRequest, answer: Answer, size: number): void {
  if (request.headers === 'put') {
    const location = answer.headers.get('location');
    if (location !== undefined) upload.location = location;
    const etag = answer.headers.get('etag');
    if (answer.status !== 200 || etag === undefined) return;
    upload.etags.push(etag);
    upload.offset += size;
    return;
  }
  if (answer.status !== 200 || !answer.text.startsWith('{')) return;
  const value = JSON.parse(answer.text) as Partial<Record<'narId' | 'uploadId' | 'uploadUrl', string>>;
  upload.narId = value.narId ?? upload.narId;
  upload.uploadId = value.uploadId ?? upload.uploadId;
  upload.uploadUrl = value.uploadUrl ?? upload.uploadUrl;
}

function encode(request: RecordedRequest, upload: Upload, values: Record<string, Json>): Buffer {
  if (request.body === undefined) return Buffer.alloc(0);
  const isComplete = request.headers === 'complete' && request.line.includes('/complete');
  const shape = isComplete ? withParts(request.body, upload.etags) : request.body;
  return Buffer.from(JSON.stringify(substitute(shape, values)));
}

/** One entry for each part that was sent, with its keys in the recorded order. */
function withParts(body: Json, etags: readonly string[]): Json {
  if (body === null || typeof body !== 'object' || !('parts' in body) || !Array.isArray(body.parts)) return body;
  const template: Json = body.parts[0] ?? null;
  const parts = etags.map((etag, index) => substitute(template, { '{eTag}': etag, '{partNumber}': index + 1 }));
  return Object.fromEntries(Object.entries(body).map(([key, value]) => [key, key === 'parts' ? parts : value]));
}

function substitute(shape: Json, values: Record<string, Json>): Json {
  if (typeof shape === 'string') return values[shape] ?? shape;
  if (Array.isArray(shape)) return shape.map((item: Json) => substitute(item, values));
  if (shape === null || typeof shape !== 'object') return shape;
  return Object.fromEntries(Object.entries(shape).map(([key, value]) => [key, substitute(value as Json, values)]));
}

function fill(text: string, values: Record<string, Json>): string {
  return text.replace(/\{[a-zA-Z0-9:]+\}/g, (name) => String(values[name] ?? name));
}

/** A keep-alive connection on which one request at a time is written as bytes. */
class RawConnection {
  readonly #socket: net.Socket;
  #received = Buffer.alloc(0);
  #wake: () => void = () => {};
  #ended = false;

  constructor(port: number) {
    this.#socket = net.connect(port, '127.0.0.1');
    this.#socket.on('data', (piece) => {
      this.#received = Buffer.concat([this.#received, piece]);
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    this.#socket.on('error', end);
    this.#socket.on('close', end);
  }

  close(): void {
    this.#socket.destroy();
  }

  async send(line: string, bytes: Buffer): Promise<Answer> {
    this.#socket.write(bytes);
    const head = await this.#take(() => this.#received.indexOf('\r\n\r\n') + 4, 4);
    const [statusLine = '', ...lines] = head.toString('latin1').trimEnd().split('\r\n');
    const headers = new Map(
      lines.map((it) => [it.slice(0, it.indexOf(':')).toLowerCase(), it.slice(it.indexOf(':') + 1).trim()]),
    );
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1]);
    const length = Number(headers.get('content-length') ?? Number.NaN);
    if (Number.isNaN(length)) throw new Error(`${line}: an answer without Content-Length: ${head}`);
    const body = length === 0 ? Buffer.alloc(0) : await this.#take(() => length, length);
    return { line, status, headers, text: body.toString('utf8') };
  }

  /** The next bytes, `size` of them, once that is known and at least `least`. */
  async #take(size: () => number, least: number): Promise<Buffer> {
    while (size() < least || this.#received.length < size()) {
      if (this.#ended) throw new Error(`the connection was closed: ${this.#received.toString('latin1')}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const end = size();
    const taken = this.#received.subarray(0, end);
    this.#received = this.#received.subarray(end);
    return taken;
  }
}
