// The description of the API is one, has every door and nothing else, and is what servers really answer.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import { doors, findDoor } from '../../server/http/index.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { ASKED_ONLY, GREEDY, refer } from '../support/gc.ts';
import { makePath, narInfoCreate, type TestPath } from '../support/nars.ts';
import { FILE, OpenApi, type Operation } from '../support/openapi.ts';
import { createUpload, partUrl, pushByPut } from '../support/push.ts';
import { type RawRequest, type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const BASE = '/api/v1/cache/{cache}';
const api = new OpenApi();
const isOfDoor = ({ tags }: Operation) => !tags.includes('Cachix') && !tags.includes('Server');
/** Something that stands for each name in a path. */
const inside = ({ path }: Operation) => path.slice(BASE.length).replaceAll(/\{\w+\}/g, '1');

describe('the description of the API', () => {
  it('is OpenAPI 3.1', async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(await readFile(FILE, 'utf8'));
    assert.ok(valid, JSON.stringify(errors));
    assert.equal(validator.version, '3.1');
    const ids = api.operations.map((it) => it.id);
    assert.equal(new Set(ids).size, ids.length);
  });

  it('has every door, and no door that is not there', () => {
    const described = api.operations
      .filter(isOfDoor)
      .map((it) => findDoor(doors, it.method, inside(it))?.door.name ?? it.id);
    assert.deepEqual(described.toSorted(), doors.map((it) => it.name).toSorted());
  });
});

describe('the answers of a server', () => {
  let server: TestServer;
  const asked = new Set<string>();
  before(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `${standardSpec}${GREEDY}`), args: ASKED_ONLY });
  });
  after(() => server.remove());

  interface Asking extends RawRequest {
    readonly query?: string;
    /** Name of a token; null: none. */
    readonly token?: string | null;
    readonly names?: Readonly<Record<string, string | number>>;
    readonly status?: number;
  }

  /** Asks, and compares the answer with its description. */
  async function ask(id: string, asking: Asking = {}): Promise<Reply> {
    const { query = '', token = 'admin', names = {}, status = 200, ...request } = asking;
    const operation = api.operation(id);
    const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
      String(name === 'cache' ? 'main' : (names[name] ?? 'x')),
    );
    const headers = token === null ? {} : await server.auth(token);
    const reply = await send(server.url, `${path}${query}`, { method: operation.method, headers, ...request });
    assert.equal(reply.status, status, `${id}: ${reply.text}`);
    api.check(operation, reply);
    asked.add(`${id} ${status}`);
    return reply;
  }
  const json = (value: unknown) => JSON.stringify(value);
  const pinOf = (it: TestPath, keep: unknown = null) =>
    json({ name: 'a/b', storePath: it.storePath, artifacts: ['bin/x'], keep });

  it('are as described: what is there', async () => {
    const lib = makePath({ name: 'lib' });
    const app = refer('app', lib);
    const waiting = refer('waiting', makePath());
    for (const it of [lib, app, waiting]) await pushByPut(server, it);
    await ask('pin', { body: pinOf(app), token: 'push' });
    await ask('pin', { body: pinOf(app, { tag: 'Days', contents: 3 }), token: 'push' });
    for (const token of ['read', 'admin']) {
      for (const id of ['listPaths', 'getStats', 'listPins', 'getCache', 'listRuns', 'getUser'])
        await ask(id, { token });
      await ask('listPaths', { query: '?limit=1&sort=name&search=l', token });
      await ask('getPin', { names: { name: 'a/b' }, token });
      for (const { hashPart: hash } of [lib, app, waiting]) {
        await ask('getPath', { names: { hash }, token });
        await ask('explainPath', { names: { hash }, token });
      }
      await ask('explainPath', { names: { hash: makePath().hashPart }, token });
    }
    await ask('explainPath', { names: { hash: lib.hashPart }, token: null });
    await ask('narUrl', { names: { file: lib.narUrl.slice(4) } });
    await ask('missingPaths', { body: json([lib.hashPart, makePath().hashPart]) });
    await ask('getOpenApi', { token: null });
  });

  it('are as described: what changes', async () => {
    const it = makePath({ name: 'deleted' });
    await pushByPut(server, it);
    const names = { hash: it.hashPart };
    await ask('deletePath', { names, query: '?block=secret' });
    for (const token of ['read', 'admin']) await ask('explainPath', { names, token });
    await ask('block', { body: json({ path: makePath().hashPart, reason: 'no' }) });
    await ask('listBlocks');
    await ask('liftBlock', { names });
    await ask('planRun', { query: '?limit=5' });
    const { run } = JSON.parse((await ask('startRun', { status: 202, body: json({ confirm: true }) })).text) as {
      run: number;
    };
    await until('it is over', async () => /"endedAt":"/.test((await ask('getRun', { names: { run } })).text));
    for (const token of ['read', 'admin']) {
      await ask('listRuns', { token });
      await ask('getStats', { token });
    }
    await ask('unpin', { names: { name: 'a/b' } });
  });

  it('are as described: uploads', async () => {
    const it = makePath();
    const upload = await createUpload(server);
    const narId = upload.url.split('/').at(-1) ?? '';
    const at = { names: { narId }, query: `?uploadId=${encodeURIComponent(upload.uploadId)}` };
    await ask('createUpload', { query: '?compression=zst' });
    const url = new URL(await partUrl(upload, 1, it.file));
    const contentMD5 = Buffer.from(url.searchParams.get('md5') ?? '', 'hex').toString('base64');
    await ask('partUrl', { ...at, query: `${at.query}&partNumber=1`, body: json({ contentMD5 }) });
    const put = await ask('putPart', {
      names: { narId, partNumber: 1 },
      query: url.search,
      body: it.file,
      token: null,
    });
    const parts = [{ partNumber: 1, eTag: put.headers.etag }];
    await ask('completeUpload', { ...at, body: json({ parts, narInfoCreate: narInfoCreate(it) }) });
    await ask('abortUpload', at);
    const old = makePath();
    await ask('legacyNar', { query: '?compression=zst', body: old.file });
    await ask('legacyNarinfo', { names: { hash: old.hashPart }, body: json(narInfoCreate(old)) });
    await ask('registerKey', { body: json({ publicKey: Buffer.alloc(32).toString('base64') }), status: 400 });
  });

  it('are as described: refusals', async () => {
    const hash = makePath().hashPart;
    for (const { id } of api.operations.filter(isOfDoor))
      await ask(id, {
        token: null,
        names: { hash, run: 1 },
        status: 401,
        ...(api.operation(id).method === 'POST' && { body: '{}' }),
      });
    for (const [id, query] of [
      ['listPaths', '?limit=0'],
      ['planRun', '?limit=x'],
    ] as const)
      await ask(id, { query, status: 400 });
    for (const id of ['getPath', 'deletePath', 'explainPath', 'liftBlock'])
      await ask(id, { names: { hash: 'x' }, status: 400 });
    for (const id of ['pin', 'startRun', 'block']) await ask(id, { body: '[]', status: 400 });
    for (const id of ['getPath', 'deletePath']) await ask(id, { names: { hash }, status: 404 });
    for (const id of ['getPin', 'unpin']) await ask(id, { names: { name: 'none' }, status: 404 });
    await ask('getRun', { names: { run: 999 }, status: 404 });
    await ask('pin', { body: pinOf(makePath()), status: 404 });
    const lib = makePath({ name: 'lib' });
    for (const it of [lib, refer('app', lib)]) await pushByPut(server, it);
    await ask('deletePath', { names: { hash: lib.hashPart }, status: 409 });
  });

  it('were asked for all that is described', () => {
    const missing = api.operations.filter(({ id }) => !asked.has(`${id} 200`) && !asked.has(`${id} 202`));
    // A cache with keys of its own takes none.
    assert.deepEqual(
      missing.map(({ id }) => id),
      ['registerKey'],
    );
  });
});

describe('the description of the API at a gateway', () => {
  it('is that of its servers, with and without a token', async () => {
    const pair = await GatewayPair.start();
    try {
      const text = await readFile(FILE, 'utf8');
      const tokens = [{}, { authorization: 'Bearer nwl_unknown' }, await pair.main.auth()];
      for (const url of [pair.gateway.url, pair.main.url, pair.secret.url])
        for (const headers of tokens) {
          const whole = await send(url, '/api/v1/openapi.yaml', { headers });
          assert.deepEqual([whole.status, whole.headers['content-type']], [200, 'text/yaml; charset=utf-8']);
          assert.equal(whole.text, text);
          const head = await send(url, '/api/v1/openapi.yaml', { method: 'HEAD', headers });
          assert.deepEqual([head.status, head.text], [200, '']);
          assert.equal(head.headers['content-length'], String(Buffer.byteLength(text)));
        }
    } finally {
      await pair.remove();
    }
  });
});
