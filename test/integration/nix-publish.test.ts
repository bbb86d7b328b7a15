// From a narinfo to a published path over raw HTTP: what is compared, merged, signed and refused.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import {
  formatHash,
  generateSecretKey,
  type NarTree,
  parseNarInfo,
  parseSecretKey,
  sha256,
  storePathOfContentAddress,
} from '../../server/nix/index.ts';
import { type NixPath, nixPath, push, signatureOf, zstdFrames } from '../support/nix-path.ts';
import { put, type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const foreign = parseSecretKey(generateSecretKey('foreign-1'));
const [older, newer] = [newKey('both.example-1'), newKey('both.example-2')];
const client = newKey('client.example-1');

function newKey(name: string) {
  const text = generateSecretKey(name);
  return { text, key: parseSecretKey(text) };
}

const secret = (name: string, text: string) =>
  `---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: ${name}\nstringData:\n  signing-key: ${text}\n`;

const MANIFEST = [
  cacheManifest('main', standardSpec),
  '---\n',
  cacheManifest('both', `${standardSpec}signing:\n  secretRefs:\n    - name: older\n    - name: newer\n`),
  '---\n',
  cacheManifest('self', `${standardSpec}signing:\n  mode: SelfSigned\n  publicKeys:\n    - ${client.key.publicKey}\n`),
  secret('older', older.text),
  secret('newer', newer.text),
].join('');

describe('publishing by the nix protocol', () => {
  let server: TestServer;

  before(async () => {
    server = await TestServer.start({ manifest: MANIFEST });
  });
  after(() => server.remove());

  const pushUrl = (cache = 'main') => `${server.api(cache)}/push`;
  const auth = (cache = 'main') => server.auth('push', cache);

  async function pushed(path: NixPath, cache = 'main'): Promise<Reply> {
    const { nar, narinfo } = await push(pushUrl(cache), path, await auth(cache));
    assert.equal(nar.status, 200, nar.text);
    return narinfo;
  }

  async function published(path: NixPath, cache = 'main'): Promise<string> {
    const narinfo = await pushed(path, cache);
    assert.equal(narinfo.status, 200, narinfo.text);
    return served(path, cache);
  }

  async function served(path: NixPath, cache = 'main', below = ''): Promise<string> {
    const headers = await auth(cache);
    return (await send(server.api(cache), `${below}/${path.hashPart}.narinfo`, { headers })).text;
  }

  async function putNarinfo(path: NixPath, text: string, cache = 'main'): Promise<Reply> {
    return put(pushUrl(cache), `/${path.hashPart}.narinfo`, text, await auth(cache));
  }

  const signatures = (text: string) => parseNarInfo(text).signatures;

  it('refuses a narinfo whose NAR is not there yet', async () => {
    const path = nixPath();
    const reply = await putNarinfo(path, path.narinfo);
    assert.equal(reply.status, 400);
    assert.equal(reply.text, `URL: ${path.url} is not here; send the NAR before its narinfo\n`);
    assert.equal((await send(server.api(), `/${path.hashPart}.narinfo`)).status, 404);
  });

  it('refuses a narinfo under the hash of another path', async () => {
    const [path, other] = [nixPath(), nixPath()];
    await pushed(path);
    const reply = await putNarinfo(other, path.narinfo);
    assert.equal(reply.status, 400);
    assert.match(reply.text, /^StorePath: its hash part is \w{32}, the request is for \w{32}\n$/);
  });

  it('publishes a path whose references are not there, for pushers', async () => {
    const path = nixPath({ references: ['0'.repeat(32).concat('-absent-1.0'), '1'.repeat(32).concat('-absent-2.0')] });
    assert.equal((await pushed(path)).status, 200);
    assert.match(await served(path, 'main', '/push'), /^References: 0{32}-absent-1.0 1{32}-absent-2.0$/m);
    assert.equal((await send(server.api(), `/${path.hashPart}.narinfo`)).status, 404);
  });

  it('keeps the deriver', async () => {
    const path = nixPath({ lines: [`Deriver: ${'0'.repeat(32)}-test-1.0.drv`] });
    assert.match(await published(path), /^Deriver: 0{32}-test-1.0.drv$/m);
  });

  it('takes a NAR of several zstd frames', async () => {
    const contents = randomBytes(700_000);
    const path = nixPath({ tree: { type: 'regular', contents }, file: (nar) => zstdFrames(nar, 5) });
    await published(path);
    assert.ok((await send(server.api(), `/${path.url}`)).body.equals(path.file));
  });

  it('never replaces a published path', async () => {
    const path = nixPath();
    const first = await published(path);
    const other = nixPath({ storePath: path.storePath });
    const refused = await pushed(other);
    assert.equal(refused.status, 409);
    assert.match(
      refused.text,
      /^this path is published with NarHash sha256:\w{52} and its own references; a published /,
    );
    const lie = await putNarinfo(path, path.narinfo.replace(/NarHash: .*/, `NarHash: sha256:${'0'.repeat(52)}`));
    assert.equal(lie.status, 409);
    const references = await putNarinfo(path, path.narinfo.replace(/References: /, `$&${'0'.repeat(32)}-more`));
    assert.equal(references.status, 409);
    assert.equal(await served(path), first);
  });

  it('merges signatures of a path that is pushed again, and keeps its first URL', async () => {
    const path = nixPath();
    const first = await published(path);
    const signed = `${path.narinfo}Sig: ${signatureOf(foreign, path)}\n`;
    assert.equal((await putNarinfo(path, signed)).status, 200);
    assert.equal((await putNarinfo(path, path.narinfo)).status, 200, 'a push without the signature removes nothing');
    const text = await served(path);
    assert.deepEqual(new Set(signatures(text)), new Set([...signatures(first), signatureOf(foreign, path)]));
    assert.equal(parseNarInfo(text).url, path.url);
  });

  it('merges a signature sent with a URL whose NAR is not here any more', async () => {
    const path = nixPath();
    await published(path);
    const level = { params: { [zlib.constants.ZSTD_c_compressionLevel]: 19 } };
    const lost = nixPath({
      storePath: path.storePath,
      tree: contentsOf(path),
      file: (nar) => Buffer.concat([zlib.zstdCompressSync(nar, level), zlib.zstdCompressSync(Buffer.alloc(0))]),
      lines: [`Sig: ${signatureOf(foreign, path)}`],
    });
    assert.notEqual(lost.url, path.url);
    const reply = await putNarinfo(path, lost.narinfo);
    assert.equal(reply.status, 200, reply.text);
    const text = await served(path);
    assert.equal(parseNarInfo(text).url, path.url);
    assert.ok(signatures(text).includes(signatureOf(foreign, path)));
  });

  it('keeps the first NAR when the same path comes compressed in another way', async () => {
    const path = nixPath();
    const first = await published(path);
    const other = nixPath({ storePath: path.storePath, tree: contentsOf(path), compression: 'xz' });
    assert.equal(await published(other), first);
  });

  it('lets pushers race on one path: all succeed, and one NAR stays', async () => {
    const first = nixPath();
    const ways = ['none', 'zstd', 'xz', 'gzip', 'br'] as const;
    const racers = ways.map((compression) =>
      nixPath({ storePath: first.storePath, tree: contentsOf(first), compression }),
    );
    const replies = await Promise.all([...racers, ...racers].map((racer) => pushed(racer)));
    assert.ok(replies.every(({ status }) => status === 200));
    const info = parseNarInfo(await served(first));
    const winner = racers.find(({ url }) => url === info.url);
    assert.ok(winner);
    assert.ok((await send(server.api(), `/${info.url}`)).body.equals(winner.file));
    assert.equal(info.signatures.length, 1);
  });

  it('drops malformed signatures', async () => {
    const path = nixPath({ lines: ['Sig: garbage', 'Sig: a-1:AAAA', 'Sig: main.localhost-1:AAAA'] });
    assert.equal(signatures(await published(path)).length, 1);
  });

  it('refuses a false signature under the name of its own key', async () => {
    const name = (await server.publicKey()).split(':')[0];
    const path = nixPath({ lines: [`Sig: ${name}:${'A'.repeat(86)}==`] });
    const reply = await pushed(path);
    assert.equal(reply.status, 400);
    assert.equal(reply.text, `the signature by ${name}, which is this cache's own key, is not valid\n`);
    assert.equal((await putNarinfo(path, path.narinfo.replace(/Sig: .*\n/, ''))).status, 200);
    const own = signatures(await served(path));
    assert.equal((await putNarinfo(path, path.narinfo.replace(/Sig: .*/, `Sig: ${own[0]}`))).status, 200);
    assert.deepEqual(signatures(await served(path)), own);
  });

  it('signs with every key of signing.secretRefs', async () => {
    const path = nixPath();
    const text = await published(path, 'both');
    assert.deepEqual(signatures(text), [signatureOf(older.key, path), signatureOf(newer.key, path)]);
  });

  describe('of a self-signed cache', () => {
    it('refuses what is not signed and says how', async () => {
      for (const lines of [[], ['Sig: garbage']]) {
        const reply = await pushed(nixPath({ lines }), 'self');
        assert.equal(reply.status, 400);
        const how = 'sign the path with client.example-1 (nix copy: ?secret-key=FILE)';
        assert.equal(reply.text, `this cache is self-signed: ${how}\n`);
      }
    });

    it('takes what its key has signed, as it is', async () => {
      const plain = nixPath();
      const signature = signatureOf(client.key, plain);
      const narinfo = `${plain.narinfo}Sig: ${signature}\n`;
      assert.equal((await pushed({ ...plain, narinfo }, 'self')).status, 200);
      assert.equal(await served(plain, 'self'), narinfo);
    });

    it('refuses a signature of another path and of a stranger', async () => {
      const [path, other] = [nixPath(), nixPath()];
      const wrong = `${path.narinfo}Sig: ${signatureOf(client.key, other)}\n`;
      const reply = await pushed({ ...path, narinfo: wrong }, 'self');
      assert.equal(reply.status, 400);
      assert.equal(reply.text, 'the signature by client.example-1 is not valid for this path\n');
      const strange = `${path.narinfo}Sig: ${signatureOf(foreign, path)}\n`;
      assert.equal((await pushed({ ...path, narinfo: strange }, 'self')).status, 400);
    });
  });

  describe('a content-addressed path', () => {
    const text = Buffer.from('some text\n');
    const file: NarTree = { type: 'regular', contents: text };
    const tree: NarTree = { type: 'directory', entries: { file, link: { type: 'symlink', target: 'file' } } };
    const hashOfText = `sha256:${sha256(text).digest.toString('hex')}`;

    function addressed(ca: string, method: 'text' | 'flat' | 'recursive', of: NarTree, references: string[] = []) {
      const { narHash } = nixPath({ tree: of });
      const hash = method === 'recursive' ? narHash : sha256(text);
      // A name of its own gives a path of its own.
      const name = `addressed-${randomBytes(8).toString('hex')}`;
      const storePath = storePathOfContentAddress({ method, hash }, name, references, false);
      const written = method === 'recursive' ? formatHash(narHash) : hashOfText;
      return nixPath({ storePath, tree: of, references, lines: [`CA: ${ca}${written}`] });
    }

    it('is published when its address leads to its store path', async () => {
      const other = nixPath();
      await published(other);
      const references = [other.storePath.slice('/nix/store/'.length)];
      for (const path of [
        addressed('text:', 'text', file, references),
        addressed('fixed:', 'flat', file),
        addressed('fixed:r:', 'recursive', tree, references),
      ]) {
        assert.match(await published(path), /^CA: (text|fixed|fixed:r):sha256:\w+$/m);
      }
    });

    it('is refused when it does not', async () => {
      for (const path of [
        addressed('text:', 'text', file),
        addressed('fixed:', 'flat', file),
        addressed('fixed:r:', 'recursive', tree),
      ]) {
        const fresh = nixPath({ tree: { type: 'regular', contents: randomBytes(20) } });
        const ca = path.narinfo.match(/CA: .*/)?.[0];
        const reply = await pushed({ ...fresh, narinfo: `${fresh.narinfo}${ca}\n` });
        assert.equal(reply.status, 400);
        assert.match(reply.text, /^CA: \S+ belongs to \/nix\/store\/\w{32}-test-1\.0\n$/);
      }
    });

    it('is refused when its contents are others', async () => {
      const path = addressed('fixed:r:', 'recursive', tree);
      const other = nixPath({ storePath: path.storePath, lines: [path.narinfo.match(/CA: .*/)?.[0] ?? ''] });
      const reply = await pushed(other);
      assert.equal(reply.status, 400);
      assert.equal(reply.text, 'CA: its hash differs from NarHash\n');
    });

    it('is refused when nobody here can check it', async () => {
      for (const ca of ['fixed:git:sha1:0', 'x', 'fixed:r:sha256', 'text:md5:0']) {
        const reply = await pushed(nixPath({ lines: [`CA: ${ca}`] }));
        assert.equal(reply.status, 400, ca);
        assert.match(reply.text, /^CA: /);
      }
    });
  });
});

function contentsOf(path: NixPath): NarTree {
  const start = path.nar.indexOf('contents') + 8;
  const size = Number(path.nar.readBigUInt64LE(start));
  return { type: 'regular', contents: path.nar.subarray(start + 8, start + 8 + size) };
}
