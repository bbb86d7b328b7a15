import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runCli } from '../support/cli.ts';
import { makePath } from '../support/nars.ts';
import { isServed, pushByPut, Refusal } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const FLAGS = [
  'file',
  'data',
  'umask',
  'secrets',
  'storages',
  'listen',
  'admin-listen',
  'api-url',
  'alias',
  'trusted-proxies',
  'x-accel-peers',
  'objects-group',
  'rename-host',
  'log-level',
  'log-format',
  'headers-timeout',
  'idle-timeout',
  'body-timeout',
  'response-timeout',
  'keep-alive-timeout',
  'shutdown-grace',
  'reload-interval',
  'housekeeping-interval',
  'storage-retry',
  'transient-retry',
  'database-connections',
  'database-timeout',
  'database-wait',
  'move-grace',
  'roots-first',
  'narinfo-cache-size',
  'verify-threads',
  'max-verifications',
  'decoder-memory',
  'max-downloads',
  'download-wait',
  'max-push-bodies',
  'min-body-rate',
  'body-rate-time',
  'stall-time',
  'body-memory',
  's3-buffer-size',
];

const GATEWAY_FLAGS = [
  'routes',
  'kubeconfig',
  'listen',
  'admin-listen',
  'trusted-proxies',
  'tls-cert',
  'tls-key',
  'connect-timeout',
  'connect-wait',
  'max-requests',
  'request-wait',
  'stall-time',
  'headers-timeout',
  'response-timeout',
  'keep-alive-timeout',
  'shutdown-delay',
  'shutdown-grace',
  'reload-interval',
  'log-level',
  'log-format',
];

describe('the command line', () => {
  let folder: string;
  let manifest: string;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-cli-'));
    manifest = path.join(folder, 'cache.yaml');
    await writeFile(manifest, cacheManifest('main', standardSpec));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('lists its commands', async () => {
    const { code, stdout } = await runCli(['--help']);
    assert.equal(code, 0);
    for (const command of ['serve', 'gateway', 'check', 'move', 'pin', 'convert', 'hash-token'])
      assert.match(stdout, new RegExp(`^  ${command}\\b`, 'm'));
  });

  for (const [command, flags] of [
    ['serve', FLAGS],
    ['gateway', GATEWAY_FLAGS],
  ] as const) {
    it(`lists every flag of ${command} with its environment variable`, async () => {
      const { code, stdout } = await runCli([command, '--help']);
      assert.equal(code, 0);
      const text = stdout.replace(/\s+/g, ' ');
      for (const flag of flags) {
        const variable = `NARWHAL_${flag.toUpperCase().replaceAll('-', '_')}`;
        assert.match(text, new RegExp(`--${flag}\\b[^]*?\\(.*?env: ${variable}\\)`), flag);
      }
      const listed = [...stdout.matchAll(/^ {2}(?:-f, )?--([a-z0-9-]+)/gm)].map((match) => match[1]);
      assert.deepEqual(listed, flags);
    });
  }

  const gatewayMistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /required option '--routes <place>' not specified/],
    [['--routes', 'nowhere'], /expected file:PATH or configmap:NAMESPACE\/NAME/],
    [['--routes', 'configmap:one'], /expected file:PATH or configmap:NAMESPACE\/NAME/],
    [['--routes', 'file:x', '--listen', 'nonsense'], /^narwhal-server: nonsense: expected host:port/],
    [['--routes', 'file:x', '--trusted-proxies', 'x'], /^narwhal-server: --trusted-proxies: expected an address/],
    [['--routes', 'file:x', '--shutdown-delay', '-1'], /expected a number of seconds/],
    [
      ['--routes', 'file:x', '--tls-cert', 'package.json', '--tls-key', 'LICENSE'],
      /^narwhal-server: package\.json and LICENSE must be a certificate and its key, both in PEM \(.*\)\n$/,
    ],
    [
      ['--routes', 'file:x', '--tls-cert', 'docs', '--tls-key', 'LICENSE'],
      /^narwhal-server: docs: EISDIR: .*; a folder is where a file should be: move it away\n$/,
    ],
  ];
  for (const [args, text] of gatewayMistakes) {
    it(`says in one line what is wrong with gateway ${args.join(' ')}`, async () => {
      const { code, stderr } = await runCli(['gateway', ...args]);
      assert.equal(code, 1);
      assert.match(stderr, text);
    });
  }

  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [['--listen', 'nonsense'], /^narwhal-server: nonsense: expected host:port or cache=host:port\n$/],
    [['--listen', '127.0.0.1:99999'], /^narwhal-server: 127\.0\.0\.1:99999: expected host:port or cache=host:port\n$/],
    [
      ['--api-url', 'ftp://x'],
      /^narwhal-server: --api-url: expected http:\/\/host or https:\/\/host, got ftp:\/\/x\n$/,
    ],
    [['--api-url', 'http://x/cache'], /^narwhal-server: --api-url: give the host only, without a path/],
    [['--idle-timeout', 'soon'], /'soon' is invalid. expected a number of seconds above 0/],
    [['--log-level', 'loud'], /'loud' is invalid\. Allowed choices are fatal, error/],
    [['--colour'], /^error: unknown option '--colour'/],
    [['-f', 'nowhere.yaml'], /^narwhal-server: -f nowhere\.yaml: no such file or folder\n$/],
  ];
  for (const [args, text] of mistakes) {
    it(`says in one line what is wrong with ${args.join(' ')}`, async () => {
      const data = path.join(folder, 'mistakes');
      const base = args[0] === '-f' ? [] : ['-f', manifest];
      const { code, stdout, stderr } = await runCli([
        'serve',
        ...base,
        '--data',
        data,
        '--admin-listen',
        '127.0.0.1:0',
        ...(args[0] === '--listen' ? [] : ['--listen', '127.0.0.1:0']),
        ...args,
      ]);
      assert.equal(code, 1, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, text);
      assert.equal(stderr.trimEnd().split('\n').length, 1, stderr);
    });
  }

  it('says in one line that no manifest is given', async () => {
    const { code, stderr } = await runCli(['serve']);
    assert.equal(code, 1);
    assert.match(stderr, /^error: required option '-f, --file <path\.\.\.>' not specified\n$/);
  });

  it('says that a command does not exist', async () => {
    const { code, stderr } = await runCli(['convrt']);
    assert.equal(code, 1);
    assert.match(stderr, /^error: unknown command 'convrt'\n/);
  });

  it('names file, line and field of each mistake in a manifest', async () => {
    const file = path.join(folder, 'wrong.yaml');
    await writeFile(file, cacheManifest('main', 'acess: Private\nstorages: []\n'));
    const { code, stderr } = await runCli(['-f', file, '--data', path.join(folder, 'wrong')]);
    assert.equal(code, 1);
    assert.match(stderr, /wrong\.yaml:6\b.*acess/);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  });

  it('says in one line that a port is taken', async () => {
    const server = await TestServer.start();
    try {
      for (const flag of ['--listen', '--admin-listen']) {
        const other = flag === '--listen' ? '--admin-listen' : '--listen';
        const args = ['-f', manifest, '--data', path.join(folder, 'taken'), other, '127.0.0.1:0'];
        const { code, stderr } = await runCli([...args, flag, `127.0.0.1:${server.port}`]);
        assert.equal(code, 1);
        assert.match(
          stderr,
          /^narwhal-server: listen EADDRINUSE: address already in use 127\.0\.0\.1:\d+; choose another with --listen or --admin-listen$/m,
        );
        assert.doesNotMatch(stderr, /^ {4}at /m);
      }
    } finally {
      await server.remove();
    }
  });

  it('takes from the environment what no flag says', async () => {
    const server = await TestServer.start({
      env: { NARWHAL_API_URL: 'http://cache.example.org', NARWHAL_ALIAS: 'a.example.org,b.example.org' },
    });
    try {
      const info = async (host: string) =>
        JSON.stringify(await (await fetch(`${server.api()}/`, { headers: { 'x-forwarded-host': host } })).json());
      assert.match(await info('any'), /"uri":"http:\/\/main\.cache\.example\.org"/);
      assert.match(await server.publicKey(), /^main\.cache\.example\.org-1:/);
    } finally {
      await server.remove();
    }
  });

  it('prefers a flag to the environment', async () => {
    const server = await TestServer.start({
      args: ['--api-url', 'http://flag.example.org'],
      env: { NARWHAL_API_URL: 'http://env.example.org' },
    });
    try {
      assert.match(await server.publicKey(), /^main\.flag\.example\.org-1:/);
    } finally {
      await server.remove();
    }
  });

  describe('hash-token', () => {
    it('prints the hash of a token on standard input', async () => {
      const { code, stdout } = await runCli(['hash-token'], { stdin: 'nwl_secret\n' });
      assert.equal(code, 0);
      assert.equal(stdout, `${createHash('sha256').update('nwl_secret').digest('hex')}\n`);
    });

    it('makes a token together with its hash', async () => {
      const { stdout } = await runCli(['hash-token', '--generate']);
      const [token = '', hash] = stdout.split('\n');
      assert.match(token, /^nwl_[0-9A-Za-z]{49}$/);
      assert.equal(hash, createHash('sha256').update(token).digest('hex'));
    });

    it('wants a token', async () => {
      const { code, stderr } = await runCli(['hash-token']);
      assert.equal(code, 1);
      assert.match(stderr, /^narwhal-server: give the token on standard input/);
    });
  });

  it('convert prints manifests, and says in one line what it cannot read', async () => {
    const { code, stderr } = await runCli(['convert', path.join(folder, 'nowhere.yaml')]);
    assert.equal(code, 1);
    assert.match(stderr, /^narwhal-server: ENOENT: [^\n]*\n$/);
  });
});

describe('a server whose signing key is lost', () => {
  it('serves what is signed, refuses pushes with a text, says so, and goes on once the key is back', async () => {
    const server = await TestServer.start();
    try {
      const published = makePath();
      await pushByPut(server, published);
      const key = await server.publicKey();
      const file = path.join(server.data, 'main', 'signing', key.slice(0, key.indexOf(':')));
      await server.stop();
      await rename(file, `${server.folder}/backup`);
      await server.restart();
      assert.ok(await isServed(server, published));
      await assert.rejects(pushByPut(server, makePath()), (error: unknown) => {
        return error instanceof Refusal && error.status === 409 && /^this cache cannot sign: /.test(error.text);
      });
      const readyz = await fetch(`${server.adminUrl}/readyz?verbose`);
      assert.equal(readyz.status, 200);
      assert.match(
        await readyz.text(),
        /^\[!\] cache main signing key: the secret of the signing key .* put .* back from a backup$/m,
      );
      assert.match(server.output, /PUSHES ARE REFUSED: the secret of the signing key/);
      await server.stop();
      await rename(`${server.folder}/backup`, file);
      await server.restart();
      await pushByPut(server, makePath());
      assert.equal(await server.publicKey(), key);
    } finally {
      await server.remove();
    }
  });
});

describe('a server whose API host changes', () => {
  it('does not start before the change is confirmed, and signs with both names then', async () => {
    const server = await TestServer.start();
    try {
      const old = await server.publicKey();
      const published = makePath();
      await pushByPut(server, published);
      await server.stop();
      const moved = ['--api-url', 'http://cache.example.org'];
      await assert.rejects(
        server.restart(moved),
        /narwhal-server: cache main: the API host has changed: .*--rename-host/,
      );
      await server.restart([...moved, '--rename-host']);
      assert.match(await server.publicKey(), /^main\.cache\.example\.org-1:/);
      const text = await (await fetch(`${server.url}/${published.hashPart}.narinfo`)).text();
      assert.match(text, new RegExp(`^Sig: ${old.slice(0, old.indexOf(':'))}:`, 'm'));
      assert.match(text, /^Sig: main\.cache\.example\.org-1:/m);
      await server.stop();
      await server.restart(moved);
      assert.match(await readFile(server.manifestFile, 'utf8'), /name: main/);
    } finally {
      await server.remove();
    }
  });
});
