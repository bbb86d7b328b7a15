// The harness itself: each nix runs here, keeps to its own folder, and copies through a cache without any server.
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { makeClosure } from '../support/nix-closure.ts';

function derivation(name: string, script: string): string {
  return `derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "${script}" ]; }`;
}

await describeEachNix('the nix harness', (nix) => {
  let dir: string;
  let client: NixClient;

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-nix-'));
    client = new NixClient({ version: nix, dir: path.join(dir, 'client') });
  });

  after(async () => {
    // Nix makes what is in a store read-only, folders too.
    await client.remove();
    await fs.rm(dir, { recursive: true, force: true });
  });

  it('runs and says its version', async () => {
    assert.match(await client.must(['nix', '--version']), new RegExp(`nix \\(.*\\) ${RegExp.escape(nix.version)}$`));
  });

  it('copies a realistic closure to a file cache and back, signed', async () => {
    const closure = await makeClosure(client, { texts: 20, bigBytes: 70_000_000, built: true });
    const { secretFile, publicKey } = await client.generateKey('test-1');
    const url = `file://${dir}/cache`;
    await client.copyTo(url, closure.all, { params: { compression: 'zstd', 'secret-key': secretFile } });

    const second = client.fresh('second');
    const refused = await second.realise(closure.all, { substituters: [url] });
    assert.notEqual(refused.code, 0, 'a signature by an unknown key was accepted');
    const accepted = await second.realise(closure.all, { substituters: [url], trustedKeys: [publicKey] });
    assert.equal(accepted.code, 0, accepted.stderr);
    await second.verify({ trustedKeys: [publicKey] });

    const facts = async (from: NixClient) =>
      (await from.pathInfo(closure.all)).map(({ path, narHash, narSize, references }) => ({
        path,
        narHash,
        narSize,
        references,
      }));
    assert.deepEqual(await facts(second), await facts(client));
    assert.deepEqual(await second.dump(closure.tree), await client.dump(closure.tree));
    assert.equal(path.basename(closure.longName).length, 33 + 211);
    await second.remove();
  });

  it('copies from a file cache with and without signatures checked', async () => {
    const storePath = await client.addTree('unsigned', 'unsigned\n');
    const [builtPath] = await client.build(derivation('built', 'echo > $out'));
    assert.ok(builtPath);
    const url = `file://${dir}/unsigned-cache`;
    await client.copyTo(url, [storePath, builtPath]);
    const second = client.fresh('unsigned-reader');
    await second.copyFrom(url, [storePath]);
    await assert.rejects(second.copyFrom(url, [builtPath]), /lacks a (valid )?signature/);
    await second.copyFrom(url, [builtPath], { checkSigs: false });
    assert.equal((await second.closureOf([builtPath])).length, 1);
    await second.remove();
  });

  it('builds from a cache whose outputs are all there without running a builder', async () => {
    const expression = derivation('once', 'echo once > $out');
    const [output] = await client.build(expression);
    assert.ok(output);
    const url = `file://${dir}/build-cache`;
    const { secretFile, publicKey } = await client.generateKey('build-1');
    await client.copyTo(url, [output], { params: { 'secret-key': secretFile } });
    const second = client.fresh('builder');
    // max-jobs 0: a builder cannot run, so the output came from the cache.
    const trust = { trustedKeys: [publicKey], settings: { 'max-jobs': '0' } };
    assert.deepEqual(await second.build(expression, { substituters: [url], ...trust }), [output]);
    assert.equal(await fs.readFile(second.fileOf(output), 'utf8'), 'once\n');
    await second.remove();
  });

  it('signs paths and carries build logs', async () => {
    const [output] = await client.build(derivation('logged', 'echo a line of the log; echo > $out'));
    assert.ok(output);
    const { secretFile } = await client.generateKey('sign-1');
    await client.must(['nix', 'store', 'sign', '--key-file', secretFile, output]);
    const [info] = await client.pathInfo([output]);
    assert.ok(info);
    assert.ok(info.signatures.some((signature) => signature.startsWith('sign-1:')));
    assert.ok(info.deriver);
    assert.equal(await client.must(['nix', 'log', output]), 'a line of the log');
    await client.must(['nix', 'store', 'copy-log', '--to', `file://${dir}/logs`, info.deriver]);
    await fs.access(path.join(dir, 'logs', 'log', path.basename(info.deriver)));
  });
});
