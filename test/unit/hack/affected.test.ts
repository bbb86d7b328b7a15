import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Reach } from '../../../hack/lib/affected.mjs';
import { changesSince } from '../../../hack/lib/changed-files.mjs';
import { root } from '../../../hack/lib/places.mjs';
import { slowest, summary } from '../../../hack/lib/test-files.mjs';
import { runToEnd } from '../../support/run.ts';

describe('the tests that a change can reach', () => {
  const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
  const files = tracked.trim().split('\n');
  const textOf = (file: string) =>
    fs.existsSync(path.join(root, file)) ? fs.readFileSync(path.join(root, file), 'utf8') : '';
  const strange = 'server/new-thing.wasm';
  let reach: Reach;
  before(() => {
    reach = new Reach([...files, strange], textOf);
  });
  const testsOf = (...changed: string[]) => reach.tests(changed);

  /** A changed file, tests that must run then, and tests that need not. */
  const TABLE: readonly (readonly [changed: string, reached: readonly string[], left: readonly string[]])[] = [
    // By import, from a test or from what it imports.
    [
      'server/nix/nar/parser.ts',
      ['unit/nix/nar', 'unit/cache/verify/verifier', 'integration/nix-push-pull'],
      ['unit/crds/schema'],
    ],
    ['server/storage/local.ts', ['unit/storage/local', 'integration/serve', 'crash/points'], ['unit/nix/hash']],
    ['test/support/nix.ts', ['integration/nix-push-pull', 'integration/nix-versions'], ['integration/serve']],
    ['test/tables/conditions.ts', ['unit/operator/cache/status/conditions'], ['unit/operator/cache/plan/plan']],
    [
      'operator/cache/plan/plan.ts',
      ['unit/operator/cache/plan/plan', 'integration/operator-crash', 'e2e/install'],
      ['unit/storage/local', 'integration/serve'],
    ],
    // Programs that a test starts, and what they load late or in a thread.
    [
      'server/cli/commands.ts',
      ['integration/cli', 'integration/serve', 'crash/random', 'e2e/faults'],
      ['unit/nix/hash'],
    ],
    [
      'operator/main.ts',
      ['integration/operator-crash', 'integration/cache-life-start', 'e2e/fleet'],
      ['integration/serve'],
    ],
    [
      'server/cache/verify/worker.ts',
      ['unit/cache/verify/verifier', 'integration/serve'],
      ['unit/operator/cache/plan/plan'],
    ],
    ['server/metadata/postgres/database.ts', ['integration/postgres-cache', 'integration/serve'], ['unit/nix/hash']],
    ['hack/start.mjs', ['integration/start'], ['integration/serve']],
    ['test/support/cachix-replay.ts', ['integration/cachix-replay'], ['integration/serve']],
    // Files that a test reads.
    ['test/vectors/nix.json', ['unit/nix/hash'], ['unit/storage/local']],
    ['docs/troubleshooting.md', ['unit/operator/cache/status/conditions'], ['unit/nix/hash', 'integration/serve']],
    [
      'examples/laptop.yaml',
      ['unit/crds/manifest', 'integration/start', 'integration/cache-life-start'],
      ['unit/nix/hash'],
    ],
    [
      'charts/narwhal/templates/operator-rbac.yaml',
      ['integration/chart-rbac', 'integration/chart-render', 'e2e/install'],
      ['integration/serve'],
    ],
    ['Dockerfile', ['unit/hack/dockerfile'], ['integration/serve']],
    ['.github/workflows/ci.yml', ['unit/hack/workflow'], ['integration/serve']],
    ['hack/nix/module.nix', ['integration/nixos-module', 'integration/flake'], ['integration/serve']],
    ['crds/generated/binarycaches.yaml', ['integration/crds-api-server'], ['unit/nix/hash']],
    // Components that a test needs, and what starts before a stage.
    ['hack/components/versitygw.mjs', ['integration/s3-storage', 'crash/s3'], ['unit/nix/hash']],
    ['hack/cluster/machine.ts', ['e2e/install', 'e2e/keys', 'integration/cluster-tool'], ['integration/serve']],
    // The test itself.
    ['test/crash/points.test.ts', ['crash/points'], ['crash/random', 'integration/serve']],
  ];
  for (const [changed, reached, left] of TABLE)
    it(`are ${reached.join(', ')} and not ${left.join(', ')}, of ${changed}`, () => {
      assert.ok(files.includes(changed), 'the file is there');
      const { tests, because } = testsOf(changed);
      assert.equal(because, undefined);
      for (const name of reached) assert.ok(tests.includes(`test/${name}.test.ts`), `${name} must run`);
      for (const name of left) {
        assert.ok(files.includes(`test/${name}.test.ts`), `${name} is there`);
        assert.ok(!tests.includes(`test/${name}.test.ts`), `${name} need not run`);
      }
    });

  it('are each named by some file of ours: no test is reached by nothing but itself', () => {
    const { tests, all } = testsOf(
      'server/nix/hash.ts',
      'crds/schema.ts',
      'operator/runtime/queue.ts',
      'server/wire/door.ts',
    );
    // What is left tests tools, and pure parts that import none of these.
    assert.ok(tests.length > all.length / 2);
  });

  for (const changed of ['package-lock.json', 'tsconfig.json', 'hack/lib/run.mjs', 'hack/setup.mjs', 'hack/test.mjs'])
    it(`are all of them, of ${changed}`, () => {
      const { tests, all, because } = testsOf('docs/s3.md', changed);
      assert.deepEqual(tests, all);
      assert.equal(because, `${changed} may change anything`);
    });

  it('are all of them, of a file that nobody understands', () => {
    const { tests, all, because } = testsOf(strange);
    assert.deepEqual(tests, all);
    assert.equal(because, `nobody knows what ${strange} changes`);
  });

  it('are hardly any, of a page that no test reads', () => {
    const { tests } = testsOf('CHANGELOG.md');
    // This one looks at all there is; some name folders as large in what they refuse.
    assert.ok(tests.includes('test/unit/hack/affected.test.ts'));
    assert.ok(tests.length < 5, tests.join());
  });

  it('are those that name a file which was removed', () => {
    assert.ok(!files.includes('test/vectors/gone.json'));
    const text = "import fs from 'node:fs';\nfs.readFileSync(new URL('../../vectors/gone.json', import.meta.url));\n";
    const test = 'test/unit/nix/gone.test.ts';
    const changed = ['test/vectors/gone.json'];
    const { tests } = new Reach([test, ...changed], () => text).tests(changed);
    assert.deepEqual(tests, [test]);
  });

  it('are those whose imports or places cannot be told, whatever changes', () => {
    const unclear = {
      'test/unit/a.test.ts': 'const it = await import(process.env.MODULE);\n',
      'test/unit/b.test.ts':
        "import { root } from '../../hack/lib/places.mjs';\nfs.readdirSync(root);\nfs.readdirSync(root);\n",
      'test/unit/c.test.ts': "import './d.ts';\n",
      'test/unit/d.ts': 'fs.readFileSync(new URL(name, import.meta.url));\n',
      'test/unit/e.test.ts': "import assert from 'node:assert';\n",
    };
    const there = [...Object.keys(unclear), 'hack/lib/places.mjs', 'hack/bench/main.ts'];
    const { tests } = new Reach(there, (file: string) => (unclear as Record<string, string>)[file] ?? '').tests([
      'hack/bench/main.ts',
    ]);
    assert.deepEqual(tests, ['test/unit/a.test.ts', 'test/unit/b.test.ts', 'test/unit/c.test.ts']);
  });
});

describe('what has changed since a revision', () => {
  let folder: string;
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.org', ...args], { cwd: folder });
  const write = (name: string, text: string) => {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  };
  before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-since-'));
    git('init', '--quiet');
    for (const name of ['stays', 'edited', 'removed', 'renamed', 'committed']) write(`a/${name}`, `${name}\n`);
    write('.gitignore', 'ignored\n');
    git('add', '-A');
    git('commit', '--quiet', '-m', 'first');
    git('tag', 'first');
    write('a/committed', 'anew\n');
    git('commit', '--quiet', '-am', 'second');
    write('a/edited', 'anew\n');
    fs.rmSync(path.join(folder, 'a/removed'));
    git('mv', 'a/renamed', 'b');
    write('c/new file', '');
    write('ignored', '');
  });
  after(() => fs.rmSync(folder, { recursive: true, force: true }));

  it('is what was committed, edited, removed, renamed and made, and nothing that git ignores', async () => {
    const { changed, files, textOf } = await changesSince('first', folder);
    const expected = ['a/committed', 'a/edited', 'a/removed', 'a/renamed', 'b', 'c/new file'];
    assert.deepEqual(changed.sort(), expected);
    assert.deepEqual(files.sort(), ['.gitignore', ...expected, 'a/stays'].sort());
    assert.equal(textOf('a/edited'), 'anew\n');
    assert.equal(textOf('a/removed'), '');
  });

  it('is refused where there is no such revision', async () => {
    for (const name of ['nosuch', '--output=x', ''])
      await assert.rejects(changesSince(name, folder), { message: `--since ${name}: git knows no such commit here` });
  });
});

describe('npm test', () => {
  const run = (...args: string[]) =>
    runToEnd([process.execPath, path.join(root, 'hack/test.mjs'), ...args], { env: process.env, cwd: root });

  it('refuses flags that it does not know, and a revision that is not there', async () => {
    const unknown = await run('--sinse', 'main');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /^usage: npm test/);
    const nowhere = await run('--since', 'nosuch');
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /^--since nosuch: git knows no such commit here\n\n0 passed, 1 failed, 0 skipped\n$/);
  });

  it('names the files that took longest', () => {
    const took = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`test/${index}.test.ts`, index + 0.5]));
    const lines = slowest(took);
    assert.equal(lines.length, 11);
    assert.equal(lines[0], 'the slowest 10 test files:');
    assert.equal(lines[1], '    11.5 s  test/11.test.ts');
    assert.equal(lines.at(-1), '     2.5 s  test/2.test.ts');
    assert.deepEqual(slowest({}), []);
  });

  it('tell once more at the end what failed, in few lines', () => {
    const stack = ['a title', 'Error: why', ...Array.from({ length: 100 }, (_, index) => `at line ${index}`)].join(
      '\n',
    );
    const lines = summary([stack]).join('\n').split('\n');
    assert.deepEqual(lines.slice(0, 3), ['', 'FAILED a title', 'Error: why']);
    assert.equal(lines.length < 40, true);
    assert.deepEqual(summary([]), []);
  });
});
