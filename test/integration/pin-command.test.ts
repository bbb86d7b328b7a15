import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Call, type CallerFlags, callCache } from '../../server/cli/caller.ts';
import { pinCommand } from '../../server/cli/pin.ts';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const COMING = `/nix/store/${'0'.repeat(32)}-coming`;

describe('narwhal-server pin', () => {
  let server: TestServer;
  let first: TestPath;
  let second: TestPath;
  before(async () => {
    const pins = `pins:\n  - {name: release, storePath: ${COMING}, keep: {revisions: 3}}\n`;
    server = await TestServer.start({ manifest: cacheManifest('main', `${standardSpec}${pins}`) });
    [first, second] = [makePath(), makePath()];
    for (const it of [first, second]) await pushByPut(server, it);
  });
  after(() => server.remove());

  const tokenOf = async (name: string) => ({ NARWHAL_TOKEN: await server.token(name) });

  /** Runs a command to its end; what it printed. */
  async function said(words: readonly string[], env: Record<string, string> = {}): Promise<string> {
    const { code, stdout, stderr } = await runCli(['pin', ...words, '--cache', 'main', '--data', server.data], { env });
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** Asks as the commands do. */
  function call(flags: Partial<CallerFlags>, call: Call, env: Record<string, string> = {}): Promise<unknown> {
    return callCache({ cache: 'main', data: server.data, ...flags }, call, env);
  }
  const LIST = { method: 'GET', path: '/pin' } as const;
  const add = (name: string, storePath: string): Call => ({
    method: 'POST',
    path: '/pin',
    body: { name, storePath },
  });

  interface Way {
    readonly title: string;
    readonly flags: () => Partial<CallerFlags>;
    readonly words: () => readonly string[];
    readonly env: () => Promise<Record<string, string>>;
  }
  const ways: readonly Way[] = [
    {
      title: 'by the socket of the server that runs',
      flags: () => ({}),
      words: () => [],
      env: async () => ({}),
    },
    {
      title: 'by a URL and a token',
      flags: () => ({ server: server.url }),
      words: () => ['--server', server.url],
      env: () => tokenOf('push'),
    },
    {
      title: 'with the database, where none runs',
      flags: () => ({ file: [server.manifestFile] }),
      words: () => ['-f', server.manifestFile],
      env: async () => ({}),
    },
  ];
  for (const { title, flags, words, env } of ways) {
    describe(title, () => {
      before(async () => {
        if (title.includes('none runs')) await server.stop();
      });
      after(async () => {
        if (title.includes('none runs')) await server.restart();
      });
      const run = async (...command: readonly string[]) => said([...command, ...words()], await env());

      it('adds, lists, tells of before, and removes', async () => {
        const artifacts = ['--artifact', 'bin/x,y', '--artifact', 'z'];
        assert.equal(await run('add', 'a b/c', first.storePath, '--keep-days', '3', ...artifacts), '');
        await call(flags(), add('a b/c', second.storePath), await env());
        const history = JSON.parse(await run('history', 'a b/c', '--json')) as Record<string, unknown>[];
        assert.deepEqual(
          history.map(({ revision, storePath, artifacts, keep }) => [revision, storePath, artifacts, keep]),
          [
            [2, second.storePath, [], null],
            [1, first.storePath, ['bin/x,y', 'z'], { tag: 'Days', contents: 3 }],
          ],
        );
        const stamp = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g;
        const lines = (await run('list')).replace(stamp, 'then').split('\n');
        assert.deepEqual(
          lines.map((line) => line.split(/ {2,}/)),
          [
            ['NAME', 'REVISION', 'KEEP', 'ADDED', 'BY', 'STORE PATH'],
            // Nobody has a name at the machine, and names of tokens are for administrators.
            ['a b/c', '2', 'all', 'then', '-', second.storePath],
            ['release', '1', '3 revisions', 'then', 'the manifest', `${COMING} (not here yet)`],
            [''],
          ],
        );
        assert.equal(await run('remove', 'a b/c'), '');
        const pins = (await call(flags(), LIST, await env())) as { name: string }[];
        assert.deepEqual(
          pins.map(({ name }) => name),
          ['release'],
        );
      });

      it('says in a line what is refused', async () => {
        const rows: readonly (readonly [Call, RegExp])[] = [
          [{ method: 'GET', path: '/pin/nobody' }, /^no such pin$/],
          [{ method: 'DELETE', path: '/pin/nobody' }, /^no such pin$/],
          [add('', first.storePath), /^name: expected 1 to 200 characters/],
          [add('a', makePath().storePath), /is not published here: push it before it is pinned$/],
          [add('a', './nowhere'), /^storePath: expected \/nix\/store/],
          [
            add('release', first.storePath),
            /^the pin release belongs to the manifest of this cache: change spec\.pins$/,
          ],
          [{ method: 'DELETE', path: '/pin/release' }, /belongs to the manifest/],
        ];
        for (const [it, message] of rows)
          await assert.rejects(call(flags(), it, await env()), { name: 'CacheError', message });
      });
    });
  }

  it('shows an administrator who pinned what', async () => {
    await call({ server: server.url }, add('mine', first.storePath), await tokenOf('push'));
    const line = /^mine +1 +all +\S+ +push +\/nix\/store\//m;
    assert.match(await said(['list', '--server', server.url], await tokenOf('admin')), line);
    assert.match(await said(['list']), line);
    await call({}, { method: 'DELETE', path: '/pin/mine' });
  });

  it('takes the token out of a file', async () => {
    const file = path.join(server.folder, 'token');
    await writeFile(file, `${await server.token()}\n`, { mode: 0o600 });
    assert.ok(Array.isArray(await call({ server: server.url, tokenFile: file }, LIST)));
    await writeFile(file, '\n');
    const message = `${file} holds no token`;
    await assert.rejects(call({ server: server.url, tokenFile: file }, LIST), { message });
    await assert.rejects(call({ server: server.url, tokenFile: `${file}s` }, LIST), { code: 'ENOENT' });
  });

  it('says in a line why nobody can be asked', async () => {
    const token = { NARWHAL_TOKEN: 'nwl_x' };
    const rows: readonly (readonly [Partial<CallerFlags>, Record<string, string>, RegExp])[] = [
      [{ server: server.url }, {}, /^--server needs a token: in the variable NARWHAL_TOKEN/],
      [{ server: server.url }, { NARWHAL_TOKEN: 'a\nb' }, /^--server needs a token/],
      [{ server: server.url }, token, /^cache main: this token is not known here$/],
      [{ server: 'http://127.0.0.1:1' }, token, /^http:\/\/127\.0\.0\.1:1 does not answer: /],
      [{ server: server.adminUrl }, token, /^not found: \/livez/],
      [{ server: 'nonsense' }, token, /^--server/],
      [{ cache: 'other' }, {}, /has no cache of this name$/],
      [{ data: server.folder }, {}, /^no server runs on \S+: name its folder with --data/],
      [{ server: server.url }, await tokenOf('read'), /token read has the permission Read, this needs Write$/],
    ];
    for (const [flags, env, message] of rows)
      await assert.rejects(call(flags, add('a', first.storePath), env), { message });
  });

  it('ends with the line, and 1', async () => {
    const target = path.join(server.folder, 'target');
    const link = path.join(server.folder, 'link');
    await writeFile(target, '');
    await symlink(target, link);
    const { code, stdout, stderr } = await runCli(['pin', 'add', 'a', link, '--cache', 'main', '--data', server.data]);
    assert.deepEqual([code, stdout], [1, '']);
    // What the link leads to is what is asked for.
    assert.match(stderr, /^narwhal-server: storePath: expected \/nix\/store\/[^\n]*\/target[^\n]*\n$/);
  });

  describe('by its flags', () => {
    const command = () => {
      const pin = pinCommand({});
      for (const it of [pin, ...pin.commands]) it.exitOverride().configureOutput({ writeErr() {}, outputError() {} });
      return pin;
    };

    it('explains itself', () => {
      const pin = command();
      const names = pin.commands.map((it) => it.name());
      assert.deepEqual(names, ['list', 'history', 'add', 'remove']);
      for (const it of pin.commands) {
        const flags = it.options.map(({ long }) => long);
        for (const flag of ['--cache', '--data', '--server', '--token-file', '--file']) assert.ok(flags.includes(flag));
        // Arguments are visible to every user of the machine.
        assert.ok(!flags.includes('--token'));
      }
      for (const { description } of pin.commands.flatMap(({ options }) => options)) assert.notEqual(description, '');
    });

    const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
      [['add', 'a', 'x', '--cache', 'main', '--keep-days', '0'], /expected a whole number above 0/],
      [['add', 'a', 'x', '--cache', 'main', '--keep-days', '1', '--keep-forever'], /cannot be used with/],
      [['list'], /required option '--cache <name>' not specified/],
      [['add', 'a', '--cache', 'main'], /missing required argument 'storepath'/],
      [['list', '--cache', 'main', '--token', 'x'], /unknown option '--token'/],
      [['forget'], /unknown command 'forget'/],
      [['remove', '..', '--cache', 'main'], /^name: expected 1 to 200 characters/],
      [['history', 'a//b', '--cache', 'main'], /^name: expected 1 to 200 characters/],
    ];
    for (const [words, message] of mistakes)
      it(`says what is wrong with ${words.join(' ')}`, () =>
        assert.rejects(command().parseAsync(words, { from: 'user' }), { message }));
  });
});
