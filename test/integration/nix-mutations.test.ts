// Row by row: what becomes of a narinfo or NAR that is bent on its way in, and that nix takes all that is then served.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ensureNix } from '../../hack/components/nix.mjs';
import { isSkipped } from '../../hack/lib/skip.mjs';
import { generateSecretKey, hashToHex, parseHash, parseSecretKey } from '../../server/nix/index.ts';
import { NixClient } from '../support/nix.ts';
import { type NixPath, nixPath, signatureOf } from '../support/nix-path.ts';
import { put, type Reply, send } from '../support/raw-http.ts';
import { TestServer } from '../support/server.ts';
import { type Mutation, mutations } from '../tables/narinfo-mutations.ts';
import { compress } from '../unit/cache/verify/support.ts';

const ROWS = mutations({
  base16: (hash) => `sha256:${hashToHex(parseHash(hash))}`,
  sri: (hash) => `sha256-${parseHash(hash).digest.toString('base64')}`,
});
const key = parseSecretKey(generateSecretKey('test-1'));
const DERIVER = `${'0'.repeat(32)}-liba-1.0.drv`;

const nixes = isSkipped('nix') ? [] : await ensureNix();

describe('narinfos and NARs that are bent on their way in', () => {
  let server: TestServer;
  let auth: Record<string, string>;
  let dependency: NixPath;
  /** Store paths that were accepted, under the names that they are served by. */
  const served: string[] = [];

  before(async () => {
    server = await TestServer.start();
    auth = await server.auth();
    dependency = nixPath({ name: 'dependency-1.0' });
    await sendPath(dependency, {});
  });
  after(() => server.remove());

  /** The path of a row: its NAR bent, its narinfo as it would be for that NAR, signed by a client. */
  function pathOf({ compression = 'xz', nar = (file) => file }: Pick<Mutation, 'compression' | 'nar'>): NixPath {
    const path = nixPath({
      name: 'liba-1.0',
      tree: { type: 'regular', contents: randomBytes(3000) },
      compression,
      references: [dependency.basename],
      file: (bytes) => nar(compress(compression, bytes)),
      lines: [`Deriver: ${DERIVER}`],
    });
    return { ...path, narinfo: `${path.narinfo}Sig: ${signatureOf(key, path)}\n` };
  }

  async function sendPath(
    path: NixPath,
    row: Omit<Mutation, 'name' | 'verdict'>,
  ): Promise<{ nar: Reply; narinfo: Reply }> {
    const { encoded, chunked, narinfo: edit = (text: string) => text } = row;
    const base = `${server.url}/push`;
    const sent = async (what: 'nar' | 'narinfo', where: string, body: Uint8Array | string) => {
      const headers = { ...auth, ...(chunked === true && { 'transfer-encoding': 'chunked' }) };
      if (encoded?.what !== what) return put(base, where, body, headers);
      const { by } = encoded;
      return put(base, where, compress(by, Buffer.from(body)), { ...headers, 'content-encoding': by });
    };
    const nar = await sent('nar', `/${path.url}`, path.file);
    return { nar, narinfo: await sent('narinfo', `/${path.hashPart}.narinfo`, edit(path.narinfo)) };
  }

  /** The narinfo as a reader gets it, without our own signature. */
  async function servedText(path: NixPath): Promise<string> {
    const { text } = await send(server.url, `/${path.hashPart}.narinfo`);
    const own = (await server.publicKey()).split(':')[0];
    assert.match(text, new RegExp(`^Sig: ${own}:`, 'm'));
    return text.replace(new RegExp(`^Sig: ${own}:.*\n`, 'm'), '');
  }

  it('are 52, beside the one that is not', () => assert.equal(ROWS.length, 53));

  for (const row of ROWS) {
    const { name, verdict, cacheInfo } = row;
    switch (verdict.kind) {
      case 'accepted':
        it(`${name}: accepted and normalised`, async () => {
          if (cacheInfo !== undefined) {
            assert.equal((await put(`${server.url}/push`, '/nix-cache-info', cacheInfo, auth)).status, 200);
            const { text } = await send(server.url, '/nix-cache-info');
            assert.equal(text, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n');
          }
          const path = pathOf(row);
          const { nar, narinfo } = await sendPath(path, row);
          assert.equal(nar.status, 200, nar.text);
          assert.equal(narinfo.status, 200, narinfo.text);
          const text = await servedText(path);
          assert.equal(text, (verdict.served ?? ((same) => same))(path.narinfo));
          served.push(text.match(/^StorePath: (.*)$/m)?.[1] ?? '');
        });
        break;
      case 'refused':
        it(`${name}: refused with a text`, async () => {
          const path = pathOf(row);
          const replies = await sendPath(path, row);
          const reply =
            verdict.at === 'nix-cache-info'
              ? await put(`${server.url}/push`, '/nix-cache-info', cacheInfo ?? '', auth)
              : replies[verdict.at];
          assert.equal(reply.status, verdict.status, reply.text);
          assert.match(reply.text, verdict.text);
          assert.match(reply.headers['content-type'] ?? '', /^text\/plain/);
          assert.ok(reply.body.length < 1024, 'nix shows bodies below 1 KiB');
          if (verdict.at === 'nix-cache-info') return;
          assert.equal((await send(server.url, `/${path.hashPart}.narinfo`)).status, 404);
          if (verdict.at === 'nar') assert.equal((await send(server.url, `/${path.url}`)).status, 404);
        });
        break;
      case "reader's side":
        it(`${name}: reader's side, ${verdict.reason}`, async () => {
          const path = pathOf({});
          await sendPath(path, {});
          const places = { nar: path.url, narinfo: `${path.hashPart}.narinfo`, 'nix-cache-info': 'nix-cache-info' };
          const reply = await send(server.url, `/${places[verdict.instead]}`);
          assert.equal(reply.status, 200);
          assert.equal(reply.headers['content-length'], String(reply.body.length));
        });
    }
  }

  if (nixes.length === 0) it.skip('that were accepted are taken by nix (NARWHAL_SKIP=nix)');
  for (const nix of nixes) {
    it(`that were accepted are taken by nix ${nix.label} with signatures checked`, async () => {
      const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-mutations-'));
      const client = new NixClient({ version: nix, dir: path.join(dir, 'client') });
      try {
        const trust = { trustedKeys: [await server.publicKey()] };
        assert.ok(served.length > 20);
        const { code, stderr } = await client.realise(served, { substituters: [server.url], ...trust });
        assert.equal(code, 0, stderr);
        assert.equal((await client.pathInfo(served)).length, served.length);
        await client.verify(trust);
      } finally {
        await client.remove();
        await fs.rm(dir, { recursive: true, force: true });
      }
    });
  }
});
