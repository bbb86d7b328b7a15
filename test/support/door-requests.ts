/** One whole request of each route that takes a body, as its client sends it; and what proxies make of such requests. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { Calls, claimOf, md5 } from './cachix-calls.ts';
import { pushable } from './cachix-paths.ts';
import { nixPath } from './nix-path.ts';
import { type Reply, send } from './raw-http.ts';
import type { TestServer } from './server.ts';

export interface DoorRequest {
  readonly method: 'PUT' | 'POST';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const API = '/api/v1/cache/main';
const LISTING = '{"version":1,"root":{"type":"regular","size":3}}';

/** Makes a request anew each time: one that was taken changes what the next one finds. */
export type MakeRequest = (server: TestServer) => Promise<DoorRequest>;

const put = async (server: TestServer, path: string, body: Buffer | string): Promise<DoorRequest> => ({
  method: 'PUT',
  path: `${API}/push${path}`,
  headers: await server.auth(),
  body: Buffer.from(body),
});
const post = async (server: TestServer, path: string, body: Buffer | string, token = 'push'): Promise<DoorRequest> => ({
  method: 'POST',
  path: `${API}${path}`,
  headers: await server.auth(token),
  body: Buffer.from(body),
});

/** The routes of nix, whose bodies may be encoded. */
export const NIX: Readonly<Record<string, MakeRequest>> = {
  'a NAR': async (server) => {
    const path = nixPath({ tree: { type: 'regular', contents: randomBytes(5000) } });
    return put(server, `/${path.url}`, path.file);
  },
  'a narinfo': async (server) => {
    const path = nixPath();
    await sendAsIs(server, await put(server, `/${path.url}`, path.file));
    return put(server, `/${path.hashPart}.narinfo`, path.narinfo);
  },
  'a listing': async (server) => put(server, `/${nixPath().hashPart}.ls`, LISTING),
  'a log': async (server) => put(server, `/log/${nixPath().hashPart}-x.drv`, 'a log\n'.repeat(100)),
};

/** Those of the Cachix API, whose bodies are never encoded. */
export const CACHIX: Readonly<Record<string, MakeRequest>> = {
  'a missing-paths query': async (server) => post(server, '/narinfo', JSON.stringify([nixPath().hashPart])),
  'a request for a part URL': async (server) => {
    const upload = await (await Calls.as(server)).create();
    const path = `/multipart-nar/${upload.id}?uploadId=${upload.uploadId}&partNumber=1`;
    return post(server, path, JSON.stringify({ contentMD5: md5(randomBytes(10)) }));
  },
  'a part': async (server) => {
    const upload = await (await Calls.as(server)).create();
    const body = randomBytes(3000);
    const path = await upload.url(1, body);
    return { method: 'PUT', path, headers: { 'content-md5': md5(body) }, body };
  },
  'a completion': async (server) => {
    const path = await pushable();
    const upload = await (await Calls.as(server)).uploaded(path);
    const body = JSON.stringify({ parts: upload.parts, narInfoCreate: claimOf(path) });
    return post(server, `/multipart-nar/${upload.id}/complete?uploadId=${upload.uploadId}`, body);
  },
  'a NAR of an old client': async (server) => {
    const path = await pushable();
    return post(server, `/nar?compression=${path.compression}`, path.file);
  },
  'a narinfo of an old client': async (server) => {
    const path = await pushable();
    await sendAsIs(server, await post(server, `/nar?compression=${path.compression}`, path.file));
    return post(server, `/${path.hashPart}.narinfo`, JSON.stringify(claimOf(path)));
  },
};

export function sendAsIs(server: Pick<TestServer, 'url'>, { path, ...init }: DoorRequest): Promise<Reply> {
  return send(server.url, path, init);
}

/** What proxies and tunnels do to a request. */
export const CHANGES: Readonly<Record<string, (request: DoorRequest) => DoorRequest>> = {
  'left as it is': (request) => request,
  'sent in chunks': (request) => withHeader(request, 'transfer-encoding', 'chunked'),
  'with doubled slashes in its path': (request) => {
    const [path = '', query] = request.path.split('?');
    return { ...request, path: path.replaceAll('/', '//') + (query === undefined ? '' : `?${query}`) };
  },
  'without its body': (request) => ({ ...request, body: Buffer.alloc(0) }),
  'without its body, in chunks': (request) =>
    withHeader({ ...request, body: Buffer.alloc(0) }, 'transfer-encoding', 'chunked'),
  'with half of its body': (request) => ({ ...request, body: request.body.subarray(0, request.body.length / 2) }),
  'encoded with gzip': (request) => ({
    ...withHeader(request, 'content-encoding', 'gzip'),
    body: gzipSync(request.body),
  }),
  'called gzip and not encoded': (request) => withHeader(request, 'content-encoding', 'gzip'),
  'in a transfer coding that is not undone': (request) => withHeader(request, 'transfer-encoding', 'gzip, chunked'),
};

function withHeader(request: DoorRequest, name: string, value: string): DoorRequest {
  return { ...request, headers: { ...request.headers, [name]: value } };
}
