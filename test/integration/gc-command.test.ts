import assert from 'node:assert/strict';
import { roundBytes } from '../../crds/index.ts';
import { gcCommand } from '../../server/cli/gc.ts';
import { runCli } from '../support/cli.ts';
import { ASKED_ONLY, GcClient, GREEDY, refer } from '../support/gc.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import type { RunResult } from '../support/run.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const DATE = /\d{4}-\d\d-\d\d/;

describe('narwhal-server gc', () => {
  let server: TestServer;
  beforeEach(async () => {
    const spec = `${standardSpec}${GREEDY}`;
    const manifest = `${cacheManifest('main', spec)}---\n${cacheManifest('other', spec)}`;
    server = await TestServer.start({ manifest, args: ASKED_ONLY });
  });
  afterEach(() => server.remove());

  const gc = (words: readonly string[], env: Record<string, string> = {}): Promise<RunResult> =>
    runCli(['gc', '--data', server.data, ...words], { env });
  const linesOf = ({ stdout }: RunResult) =>
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  interface Way {
    readonly title: string;
    readonly stop?: true;
    readonly words: () => readonly string[];
    readonly env?: () => Promise<Record<string, string>>;
  }
  const ways: readonly Way[] = [
    { title: 'by the socket of the server that runs', words: () => [] },
    {
      title: 'by a URL and a token',
      words: () => ['--server', server.url],
      env: async () => ({ NARWHAL_TOKEN: await server.token('admin') }),
    },
    { title: 'with the database, where none runs', stop: true, words: () => ['-f', server.manifestFile] },
  ];
  for (const { title, stop, words, env } of ways)
    it(`tells, waits and removes ${title}`, async () => {
      const lib = makePath({ name: 'lib', contents: Buffer.alloc(50_000, 'x'), compression: 'none' });
      const app = refer('app', lib);
      for (const it of [lib, app]) await pushByPut(server, it, { cache: 'main' });
      const variables = await env?.();
      if (stop) await server.stop();
      const run = (...more: readonly string[]) => gc(['--cache', 'main', ...words(), ...more], variables);

      const plan = await run('--dry-run');
      assert.equal(plan.code, 0, plan.stderr);
      const paths = [
        ['49KiB', 'too much in all', 'then', lib.storePath],
        [`${roundBytes(app.file.length)}B`, 'too much in all', 'then', app.storePath],
      ];
      const told = (text: string) =>
        text
          .trimEnd()
          .split('\n')
          .map((line) => line.split(/ {2,}/).map((cell) => (DATE.test(cell) ? 'then' : cell)));
      const table = [['SIZE', 'WHY', 'LAST USED', 'STORE PATH'], ...paths];
      const [first, ...rest] = told(plan.stdout);
      assert.match(String(first), /^main: would remove 2 of 2 paths, (\S+) of \1$/);
      assert.deepEqual(rest.slice(0, -1), table);
      assert.match(String(rest.at(-1)), /^main: it would wait for --confirm: it would remove \S+ of \S+$/);

      const held = await run();
      assert.equal(held.code, 2, held.stderr);
      assert.match(held.stdout, /^main: run 1 would remove 2 of 2 paths/);
      assert.deepEqual(told(held.stdout).slice(1), table);
      assert.match(held.stderr, /^narwhal-server: main: it waits to be confirmed: it would remove .* use --confirm$/m);

      const done = await run('--confirm', '--json');
      assert.equal(done.code, 0, done.stderr);
      const [report, ...taken] = linesOf(done);
      assert.deepEqual([report?.cache, report?.run, report?.state, report?.removedPaths], ['main', 2, 'done', 2]);
      assert.deepEqual(
        taken.map(({ cache, storePath, reason }) => [cache, storePath, reason]),
        [lib, app].map((it) => ['main', it.storePath, 'maxSize']),
      );

      const nothing = await run();
      assert.deepEqual([nothing.code, nothing.stdout], [0, 'main: run 3 removed 0 of 0 paths, 0B of 0B\n']);
    });

  it('does each cache of the server, or of the manifests, where none is named', async () => {
    const names = async (words: readonly string[]) => {
      const ran = await gc([...words, '--json']);
      assert.equal(ran.code, 0, ran.stderr);
      return linesOf(ran).map(({ cache, state }) => [cache, state]);
    };
    const both = [
      ['main', 'done'],
      ['other', 'done'],
    ];
    assert.deepEqual(await names([]), both);
    await server.stop();
    assert.deepEqual(await names(['-f', server.manifestFile]), both);
  });

  it('shows a person the largest of many, and tells a program all', async () => {
    const many: TestPath[] = [];
    for (let n = 0; n < 25; n++)
      many.push(makePath({ name: `p${n}`, contents: Buffer.alloc(2000 + 100 * n), compression: 'none' }));
    for (const it of many) await pushByPut(server, it, { cache: 'main' });
    const plan = await gc(['--cache', 'main', '--dry-run']);
    assert.match(plan.stdout, /\nand 5 more: --json tells all\n/);
    assert.ok(plan.stdout.includes('-p24\n') && plan.stdout.includes('-p5\n') && !plan.stdout.includes('-p4\n'));
    assert.equal(linesOf(await gc(['--cache', 'main', '--dry-run', '--json'])).length, 26);
  });

  it('says in a line why nothing was done', async () => {
    await server.stop();
    await server.restart(['--roots-first', '3600']);
    const lib = refer('lib');
    for (const it of [lib, refer('app', lib)]) await pushByPut(server, it, { cache: 'main' });
    assert.equal((await GcClient.of(server, 'admin').start(true)).status, 202);
    const read = { NARWHAL_TOKEN: await server.token('read') };
    const rows: readonly (readonly [readonly string[], Record<string, string>, RegExp])[] = [
      [['--cache', 'main'], {}, /^narwhal-server: a collection of this cache runs now; try again when it is over$/],
      [['--cache', 'nobody'], {}, /^narwhal-server: the server that runs has no cache of this name$/],
      [['--server', server.url], read, /^narwhal-server: --server needs --cache: the cache that is meant$/],
      [
        ['--server', server.url, '--cache', 'main'],
        read,
        /^narwhal-server: cache main: token read has .* needs Admin$/,
      ],
      [['--data', server.folder], {}, /^narwhal-server: no server runs on \S+: name its folder/],
    ];
    for (const [words, env, line] of rows) {
      const { code, stdout, stderr } = await gc(words, env);
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr.trimEnd(), line);
    }
  });

  it('explains itself, its exit codes too', () => {
    let text = '';
    const command = gcCommand({}).configureOutput({
      writeOut: (it) => {
        text += it;
      },
    });
    command.outputHelp();
    for (const word of ['--dry-run', '--confirm', '--cache', '--json', '--server', '--token-file', 'Exit codes: 0'])
      assert.ok(text.includes(word), word);
    command.exitOverride().configureOutput({ writeErr() {}, outputError() {} });
    return assert.rejects(command.parseAsync(['--dry-run', '--confirm'], { from: 'user' }), /cannot be used with/);
  });
});
