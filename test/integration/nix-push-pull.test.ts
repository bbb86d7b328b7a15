// Real nix against a real server: what one client pushes, another with a fresh home takes from the cache alone.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { formatHash, parseHash } from '../../server/nix/index.ts';
import { describeEachNix, type Nix, NixClient } from '../support/nix.ts';
import { type Closure, makeClosure } from '../support/nix-closure.ts';
import { nixPath, push, zstdFrames } from '../support/nix-path.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const BIG_BYTES = 70_000_000;
const MANIFEST = `${cacheManifest('main', standardSpec)}---\n${cacheManifest('private', `${standardSpec}access: Private\n`)}`;

/** Whether a nix is of that release or a later one. */
function isAtLeast(nix: Nix, release: string): boolean {
  return nix.version.localeCompare(release, 'en', { numeric: true }) >= 0;
}

function derivation(name: string, script: string): string {
  return `derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "${script}" ]; }`;
}

await describeEachNix('pushing to and pulling from narwhal', (nix) => {
  let dir: string;
  let server: TestServer;
  let pusher: NixClient;
  let pushUrl: string;
  let netrc: string;
  let key: string;
  let closure: Closure;
  const clients: NixClient[] = [];

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-push-pull-'));
    server = await TestServer.start({ manifest: MANIFEST });
    pusher = newClient('pusher');
    pushUrl = `${server.api()}/push`;
    netrc = await netrcFile('push');
    key = await server.publicKey();
    closure = await makeClosure(pusher, { texts: 30, bigBytes: BIG_BYTES, built: true, seed: nix.label });
  });
  after(async () => {
    await server.remove();
    for (const client of clients) await client.remove();
    await fs.rm(dir, { recursive: true, force: true });
  });

  function newClient(name: string): NixClient {
    const client = new NixClient({ version: nix, dir: path.join(dir, name) });
    clients.push(client);
    return client;
  }

  async function netrcFile(token: string, cache = 'main'): Promise<string> {
    return writeNetrc(`${cache}-${token}`, await server.token(token, cache));
  }

  async function writeNetrc(name: string, password: string, machine = '127.0.0.1'): Promise<string> {
    const file = path.join(dir, `netrc-${name}`);
    await fs.writeFile(file, `machine ${machine} login anybody password ${password}\n`, { mode: 0o600 });
    return file;
  }

  /** Puts paths into a client's store from the cache alone. */
  async function pull(client: NixClient, paths: readonly string[]): Promise<void> {
    const { code, stderr } = await client.realise(paths, { substituters: [server.api()], trustedKeys: [key] });
    assert.equal(code, 0, stderr);
  }

  async function facts(client: NixClient, paths: readonly string[]) {
    const infos = await client.pathInfo(paths);
    return infos.map(({ path, narHash, narSize, references, ca }) => ({ path, narHash, narSize, references, ca }));
  }

  /** What the server has logged of requests since it had printed `from` characters. */
  function requests(from: number): { method: string; path: string; status: number }[] {
    const lines = server.output.slice(from).split('\n');
    return lines.filter((line) => line.includes('"msg":"request"')).map((line) => JSON.parse(line));
  }

  it('a realistic closure reaches a second client whole and signed', async () => {
    const params = { compression: 'zstd', 'write-nar-listing': 'true', 'index-debug-info': 'true' };
    await pusher.copyTo(pushUrl, closure.all, { params, netrc });
    const puts = requests(0).filter(({ method, path }) => method === 'PUT' && path.endsWith('.narinfo'));
    assert.equal(puts.length, closure.all.length);

    const reader = newClient('reader');
    await pull(reader, closure.all);
    await reader.verify({ trustedKeys: [key] });
    assert.deepEqual(await facts(reader, closure.all), await facts(pusher, closure.all));
    assert.deepEqual(await reader.dump(closure.tree), await pusher.dump(closure.tree));

    const listing = await send(server.api(), `/${path.basename(closure.tree).slice(0, 32)}.ls`);
    assert.equal(listing.status, 200);
    assert.ok('bin' in JSON.parse(listing.text).root.entries);
  });

  it('debug information is indexed by its build id', async () => {
    const id = 'ab'.concat('cd'.repeat(19));
    const file = { entries: { [`${id.slice(2)}.debug`]: `${nix.label}\n` } };
    const debug = { entries: { '.build-id': { entries: { [id.slice(0, 2)]: file } } } };
    const tree = { entries: { lib: { entries: { debug } } } };
    const storePath = await pusher.addTree('debug', tree);
    await pusher.copyTo(pushUrl, [storePath], { params: { compression: 'zstd', 'index-debug-info': 'true' }, netrc });
    const entry = JSON.parse((await send(server.api(), `/debuginfo/${id}.debug`)).text);
    assert.equal(entry.member, `lib/debug/.build-id/${id.slice(0, 2)}/${id.slice(2)}.debug`);
    assert.equal((await send(server.api(), `/debuginfo/${entry.archive}`)).status, 404, 'the archive is relative');
    assert.equal((await send(server.api(), `/${entry.archive.replace('../', '')}`)).status, 200);
  });

  it('an output of a content-addressed derivation is found by its realisation', async () => {
    const expression = `derivation { name = "realised"; system = builtins.currentSystem; builder = "/bin/sh";
      args = [ "-c" "echo ${nix.label} > $out" ];
      __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; }`;
    const drv = await pusher.must(['nix-instantiate', '-'], { input: expression });
    const [output] = await pusher.build(expression);
    assert.ok(output);
    const from = server.output.length;
    await pusher.copyTo(pushUrl, [isAtLeast(nix, '2.15') ? `${drv}^out` : drv], { netrc });
    const puts = requests(from).filter(({ path }) => /realisations|build-trace/.test(path));
    assert.ok(puts.length > 0);
    assert.ok(puts.every(({ status, method }) => (method === 'PUT' ? status === 200 : true)));

    const builder = newClient('realiser');
    const trust = { substituters: [server.api()], trustedKeys: [key], settings: { 'max-jobs': '0' } };
    assert.deepEqual(await builder.build(expression, trust), [output]);
  });

  it('nix copy --from takes the closure of one path and nothing else', async () => {
    const reader = newClient('copier');
    await reader.copyFrom(server.api(), [closure.top], { trustedKeys: [key] });
    assert.deepEqual(new Set(await reader.closureOf([closure.top])), new Set(await pusher.closureOf([closure.top])));
    await reader.verify({ trustedKeys: [key] });
  });

  it('the address with the name of the cache as its host works like the one below the API host', async () => {
    const url = `http://main.localhost:${server.port}`;
    const storePath = await pusher.addTree('by-host', `${nix.label}\n`);
    const hosts = await writeNetrc('host', await server.token('push'), 'main.localhost');
    await pusher.copyTo(`${url}/push`, [storePath], { params: { compression: 'zstd' }, netrc: hosts });
    const reader = newClient('by-host');
    const { code, stderr } = await reader.realise([storePath], { substituters: [url], trustedKeys: [key] });
    assert.equal(code, 0, stderr);
  });

  it('a second push sends nothing that is there', async () => {
    const from = server.output.length;
    const settings = { 'narinfo-cache-positive-ttl': '0', 'narinfo-cache-negative-ttl': '0' };
    await pusher.copyTo(pushUrl, closure.all, { params: { compression: 'zstd' }, netrc, settings });
    assert.deepEqual(
      requests(from).filter(({ method, status }) => method === 'PUT' || status >= 400),
      [],
    );
  });

  it('every compression that this nix can write is taken', async () => {
    const names = ['xz', 'none', 'gzip', 'bzip2', 'br', ...(isAtLeast(nix, '2.26') ? ['lzma'] : [])];
    const paths: string[] = [];
    for (const compression of names) {
      const tree = { entries: { file: randomBytes(30_000), run: { executable: `#!/bin/sh\n# ${compression}\n` } } };
      const storePath = await pusher.addTree(`by-${compression}`, tree);
      // xz is what nix does by itself.
      await pusher.copyTo(pushUrl, [storePath], { params: compression === 'xz' ? {} : { compression }, netrc });
      const { text } = await send(server.api(), `/${path.basename(storePath).slice(0, 32)}.narinfo`);
      assert.match(text, new RegExp(`^Compression: ${compression}$`, 'm'));
      paths.push(storePath);
    }
    const reader = newClient('compressions');
    await pull(reader, paths);
    await reader.verify({ trustedKeys: [key] });
    assert.deepEqual(await facts(reader, paths), await facts(pusher, paths));
  });

  it('a NAR of several zstd frames is read whole', async () => {
    const contents = randomBytes(3_000_000);
    const frames = nixPath({
      name: 'frames',
      tree: { type: 'regular', contents },
      file: (nar) => zstdFrames(nar, 4),
    });
    const { nar, narinfo } = await push(pushUrl, frames, await server.auth());
    assert.deepEqual([nar.status, narinfo.status], [200, 200], nar.text + narinfo.text);
    const reader = newClient('frames');
    await pull(reader, [frames.storePath]);
    const [info] = await reader.pathInfo([frames.storePath]);
    assert.equal(formatHash(parseHash(info?.narHash ?? '')), formatHash(frames.narHash));
    assert.ok((await fs.readFile(reader.fileOf(frames.storePath))).equals(contents));
  });

  it('an expression whose outputs are in the cache is built without a builder', async () => {
    const expression = `let dep = ${derivation('dep', `echo ${nix.label} > $out`)}; in derivation {
      name = "top"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo \${dep} > $out" ]; }`;
    const [output] = await pusher.build(expression);
    assert.ok(output);
    await pusher.copyTo(pushUrl, [output], { params: { compression: 'zstd' }, netrc });
    const builder = newClient('builder');
    const trust = { substituters: [server.api()], trustedKeys: [key], settings: { 'max-jobs': '0' } };
    assert.deepEqual(await builder.build(expression, trust), [output]);
    assert.equal((await builder.closureOf([output])).length, 2);
  });

  it('a log goes up and comes down again, one without a byte too', async () => {
    for (const [name, script, lines] of [
      ['logged+a=b', 'echo a line; echo > $out', 'a line'],
      ['silent', 'echo > $out', ''],
      // From 2.32 on nix cuts the name off at the question mark before it asks.
      ...(isAtLeast(nix, '2.32') ? [] : [['logged?c=d', 'echo more; echo > $out', 'more'] as const]),
    ] as const) {
      const [output] = await pusher.build(derivation(name, `${script} # ${nix.label}`));
      assert.ok(output);
      await pusher.copyTo(pushUrl, [output], { netrc });
      const [info] = await pusher.pathInfo([output]);
      const deriver = info?.deriver ?? '';
      const upload = ['nix', 'store', 'copy-log', '--to', pushUrl, '--option', 'netrc-file', netrc, deriver] as const;
      await pusher.must(upload);
      const reply = await send(server.api(), `/log/${encodeURIComponent(path.basename(deriver))}`);
      assert.equal(reply.status, 200);
      assert.equal(reply.text.trim(), lines);
      const reader = newClient(`reads-${lines.length}`);
      const found = await reader.run(['nix', 'log', '--store', server.api(), output]);
      if (lines !== '') assert.equal(found.stdout.trim(), lines, found.stderr);
    }
  });

  it('a signature that is added later joins the others', async () => {
    const storePath = await pusher.addTree('signed-later', `${nix.label}\n`);
    await pusher.copyTo(pushUrl, [storePath], { netrc });
    const { secretFile, publicKey } = await pusher.generateKey('later-1');
    const store = ['--store', pushUrl, '--option', 'netrc-file', netrc];
    await pusher.must(['nix', 'store', 'sign', ...store, '--key-file', secretFile, storePath]);
    const { text } = await send(server.api(), `/${path.basename(storePath).slice(0, 32)}.narinfo`);
    const names = [...text.matchAll(/^Sig: ([^:]+):/gm)].map((match) => match[1]);
    assert.deepEqual(new Set(names), new Set([key.split(':')[0], 'later-1']));

    const reader = newClient('signatures');
    const trust = { substituters: [server.api()], trustedKeys: [publicKey] };
    const { code, stderr } = await reader.realise([storePath], trust);
    assert.equal(code, 0, stderr);
  });

  it('a push without a token is refused with a text', async () => {
    const storePath = await pusher.addTree('no-token', `${nix.label}\n`);
    await assert.rejects(pusher.copyTo(pushUrl, [storePath]), /this needs a token with the permission Write/);
    await assert.rejects(
      pusher.copyTo(server.api(), [storePath], { netrc }),
      /this URL is for pulling only; push with/,
    );
    const reading = await netrcFile('read');
    await assert.rejects(
      newClient('may-only-read').must([
        'nix',
        'store',
        'add-file',
        '--store',
        pushUrl,
        '--option',
        'netrc-file',
        reading,
        netrc,
      ]),
      /token read has the permission Read, this needs Write/,
    );
  });

  if (isAtLeast(nix, '2.32')) {
    it('narinfos, listings and logs that come encoded are served plain', async () => {
      const params = { 'narinfo-compression': 'zstd', 'ls-compression': 'gzip', 'write-nar-listing': 'true' };
      for (const encoding of ['zstd', 'gzip', 'br', 'xz', 'bzip2']) {
        const storePath = await pusher.addTree(`encoded-${encoding}`, `${nix.label}\n`);
        const encoded = { ...params, 'narinfo-compression': encoding, 'ls-compression': encoding };
        await pusher.copyTo(pushUrl, [storePath], { params: encoded, netrc });
        const hashPart = path.basename(storePath).slice(0, 32);
        const narinfo = await send(server.api(), `/${hashPart}.narinfo`);
        assert.ok(narinfo.text.startsWith(`StorePath: ${storePath}\n`));
        assert.equal(narinfo.headers['content-encoding'], undefined);
        assert.equal(JSON.parse((await send(server.api(), `/${hashPart}.ls`)).text).version, 1);
        await pull(newClient(`encoded-${encoding}`), [storePath]);
      }
    });
  }

  describe('a private cache', () => {
    let storePath: string;
    let url: string;

    before(async () => {
      url = server.api('private');
      storePath = await pusher.addTree('hidden', `${nix.label}\n`);
      const params = { compression: 'zstd' };
      await pusher.copyTo(`${url}/push`, [storePath], { params, netrc: await netrcFile('push', 'private') });
    });

    const trust = async () => ({ substituters: [url], trustedKeys: [await server.publicKey('private')] });

    it('serves who has a token in netrc', async () => {
      const reader = newClient('guest');
      const { code, stderr } = await reader.realise([storePath], {
        ...(await trust()),
        netrc: await netrcFile('read', 'private'),
      });
      assert.equal(code, 0, stderr);
      await reader.verify({ trustedKeys: [await server.publicKey('private')] });
    });

    it('has nothing for a stranger, who is told so by nix', async () => {
      const reader = newClient('stranger');
      const { code, stderr } = await reader.realise([storePath], await trust());
      assert.equal(code, 1, stderr);
      const asked = await reader.run(['nix', 'path-info', '--store', url, storePath]);
      assert.notEqual(asked.code, 0);
      assert.match(asked.stderr, /is not valid|does not exist|don't know how to build/);
      assert.match(
        stderr,
        /is required, but there is no substituter|don't know how to build|does not exist|build of .* failed/,
      );
    });

    it('has nothing for an unknown token, and nix ends with a message', async () => {
      const reader = newClient('impostor');
      const unknown = await writeNetrc('unknown', 'nwl_nonsense');
      const { code, stderr } = await reader.realise([storePath], { ...(await trust()), netrc: unknown });
      assert.equal(code, 1, stderr);
      assert.match(stderr, /error|warning/);
    });
  });
});
