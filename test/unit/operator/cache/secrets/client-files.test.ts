import assert from 'node:assert/strict';
import { generateToken } from '../../../../../crds/index.ts';
import { clientFiles } from '../../../../../operator/cache/secrets/client-files.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf } from '../../../../support/operator-fixtures.ts';
import { runToEnd } from '../../../../support/run.ts';

const token = generateToken();
const publicKey = `main.cache.example.org-1:${'A'.repeat(43)}=`;

function filesOf(spec: Value = {}, apiUrl: string | undefined = 'https://cache.example.org', keys = [publicKey]) {
  return clientFiles(cacheOf(spec), inputsOf({ apiUrl }), token, keys);
}

/** The entries of a netrc, as Nix and curl read it: words with white space between them. */
function entriesOf(netrc = ''): Record<string, string>[] {
  const words = netrc.split(/\s+/).filter(Boolean);
  const entries: Record<string, string>[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [name = '', value = ''] = words.slice(at);
    assert.ok(['machine', 'login', 'password'].includes(name), name);
    if (name === 'machine') entries.push({});
    Object.assign(entries.at(-1) ?? {}, { [name]: value });
  }
  return entries;
}

/** The settings of a nix.conf. */
function settingsOf(conf = ''): Record<string, string> {
  const lines = conf.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const [, name = '', value = ''] = /^([a-z-]+) = (.*)$/.exec(line) ?? assert.fail(line);
      return [name, value];
    }),
  );
}

describe('the files of a token', () => {
  it('are the token as it is, to be read by a program', () => {
    assert.equal(filesOf().token, token);
  });

  it('are a netrc with each host of the cache once, without ports', () => {
    const hosts = (netrc = '') => entriesOf(netrc).map(({ machine }) => machine);
    assert.deepEqual(hosts(filesOf().netrc), [
      'main.team.svc',
      'main.team.svc.cluster.local',
      'main.cache.example.org',
    ]);
    assert.deepEqual(hosts(filesOf({}, 'https://cache.example.org:8443').netrc).at(-1), 'main.cache.example.org');
    const alone = clientFiles(cacheOf(), inputsOf({ apiUrl: undefined }), token, []);
    assert.deepEqual(hosts(alone.netrc), ['main.team.svc', 'main.team.svc.cluster.local']);
    const routed = clientFiles(cacheOf({ ingress: { host: 'a.b' } }), inputsOf({ apiUrl: undefined }), token, []);
    assert.deepEqual(hosts(routed.netrc).at(-1), 'a.b');
    const wild = clientFiles(cacheOf({ ingress: { host: '*.b' } }), inputsOf({ apiUrl: undefined }), token, []);
    assert.deepEqual(hosts(wild.netrc), hosts(alone.netrc));
  });

  it('are a netrc that gives the token as the password', () => {
    for (const { login, password } of entriesOf(filesOf().netrc))
      assert.deepEqual([login, password], ['narwhal', token]);
  });

  it('are settings of Nix that name the Service and the key', () => {
    assert.deepEqual(settingsOf(filesOf()['nix.conf']), {
      'extra-substituters': 'http://main.team.svc',
      'extra-trusted-public-keys': publicKey,
    });
  });

  it('are settings without a key, where nobody knows one', () => {
    assert.deepEqual(settingsOf(filesOf({}, undefined, [])['nix.conf']), {
      'extra-substituters': 'http://main.team.svc',
    });
  });

  it('hold the token in no setting of Nix, which everyone may read', () => {
    assert.ok(!filesOf()['nix.conf']?.includes(token));
  });

  for (const [title, apiUrl, host] of [
    ['the gateway', 'https://cache.example.org', 'https://cache.example.org'],
    ['the Service', undefined, 'http://main.team.svc'],
  ] as const)
    it(`are a script that sets up cachix for ${title}`, async () => {
      const script = clientFiles(cacheOf(), inputsOf({ apiUrl }), token, [])['cachix.sh'];
      // A function in place of the program, so that the shell says what it would be called with.
      const said = `cachix() { echo "$CACHIX_AUTH_TOKEN|$*"; }\n${script}`;
      const { stdout, code } = await runToEnd(['sh', '-eu', '-c', `CACHIX_AUTH_TOKEN=none\n${said}`], {
        env: { PATH: process.env.PATH },
      });
      assert.deepEqual(
        [code, stdout.trim().split('\n')],
        [0, [`none|config set hostname ${host}`, `${token}|use main`]],
      );
    });
});
