import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { generateToken, hashToken } from '../../crds/index.ts';
import { ensureImage } from '../../hack/image.mjs';
import { ImageRoot } from '../support/image-root.ts';
import { withImageServer } from '../support/image-server.ts';
import { cacheText } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';

const DERIVATION =
  'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo built > $out" ]; }';

describeWith('image', 'the image of test clients', () => {
  let dir: string;
  let client: ImageRoot;
  let server: ImageRoot;
  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-image-'));
    client = await ImageRoot.unpack((await ensureImage('client')).file, path.join(dir, 'client'));
    server = await ImageRoot.unpack((await ensureImage('narwhal')).file, path.join(dir, 'server'));
  });
  after(() => fs.rmSync(dir, { recursive: true, force: true }));

  /** A folder that the image's user owns. */
  function owned(name: string): string {
    const folder = path.join(dir, name);
    fs.mkdirSync(folder);
    const [uid = 0, gid = 0] = client.config.User.split(':').map(Number);
    fs.chownSync(folder, uid, gid);
    return folder;
  }

  const shell = (script: string, mounts: Record<string, string> = {}, env: Record<string, string> = {}) =>
    client.run(['/bin/sh', '-ec', script], { mounts, env });

  it('pushes to the image of the product and pulls from it, without root, in stores of its own', async () => {
    const token = generateToken();
    const manifest = cacheText({
      access: 'Public',
      tokens: [{ name: 'push', permissions: ['Write'], sha256: hashToken(token) }],
    });
    await withImageServer(server, dir, manifest, async (url) => {
      const script = `
        mkdir -p /tmp/home
        echo "machine 127.0.0.1 password ${token}" > /tmp/netrc
        echo content > /tmp/file
        path=$(nix store add-path --name file /tmp/file)
        nix copy --option netrc-file /tmp/netrc --to ${url}/push $path
        curl --fail --silent ${url}/nix-cache-info
        nix copy --no-check-sigs --from ${url} --to /work/other $path
        cat /work/other$path`;
      const { stdout } = await shell(script, { '/work': owned('work') });
      assert.match(stdout, /StoreDir: \/nix\/store(.|\n)*\ncontent\n$/);
    });
  });

  it('builds where a volume is at /nix', async () => {
    const script = `cat $(nix-build --no-out-link -E '${DERIVATION}')`;
    const { stdout } = await shell(script, { '/nix': owned('nix') }, { NIX_REMOTE: 'local' });
    assert.equal(stdout, 'built\n');
  });

  it("runs the tests' own clients from their sources", async () => {
    const names = ['cachix-client', 'load', 'nars', 'nix', 'push', 'raw-http', 'until'];
    const script = names.map((name) => `await import('/app/test/support/${name}.ts');`).join('\n');
    await client.run(['node', '--input-type=module', '--eval', `${script}\nprocess.exit(0);`]);
  });
});
