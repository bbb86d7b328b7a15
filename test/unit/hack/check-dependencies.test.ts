import assert from 'node:assert/strict';
import { checkDependencies, importsOf } from '../../../hack/check-dependencies.mjs';

/** The problems in files that are given as path: lines. */
function problemsOf(files: Record<string, string>): string[] {
  return checkDependencies(new Map(Object.entries(files)));
}

describe('the dependency check', () => {
  it('accepts imports down the rooms', () => {
    const problems = problemsOf({
      'crds/index.ts': "import { parse } from 'yaml';",
      'server/nix/hash.ts': "import { createHash } from 'node:crypto';",
      'server/storage/local.ts': "import fs from 'node:fs';\nimport { x } from '../nix/hash.ts';",
      'server/cache/caches.ts': "import { x } from '../storage/local.ts';\nimport { y } from '../../crds/index.ts';",
      'server/http/front.ts': "import type { Cache } from '../cache/caches.ts';",
      'server/serve.ts': "import { front } from './http/front.ts';\nimport { log } from './log.ts';",
      'server/cli/serve.ts': "import { serve } from '../serve.ts';",
      'server/main.ts': "const { run } = await import('./cli/serve.ts');",
      'server/cache/push/a.ts': "import { B } from '../paths/b.ts';\nimport { CacheError } from '../errors.ts';",
      'server/log.ts': "import pino from 'pino';",
      'hack/generate.mjs': "import { schema } from '../crds/index.ts';",
      'hack/bench/push.ts': "import { x } from '../../test/support/cachix-client.ts';",
      'test/unit/a.test.ts': "import { x } from '../../server/nix/hash.ts';",
    });
    assert.deepEqual(problems, []);
  });

  const refused: [title: string, file: string, line: string, problem: RegExp][] = [
    [
      'crds that imports a room',
      'crds/a.ts',
      "import { x } from '../server/nix/hash.ts';",
      /crds may not import server\/nix/,
    ],
    ['formats that read files', 'server/nix/a.ts', "import fs from 'node:fs/promises';", /does no I\/O/],
    ['formats that use a package', 'server/nix/a.ts', "import pino from 'pino';", /may not import the package pino/],
    [
      'storage that knows of metadata',
      'server/storage/a.ts',
      "import '../metadata/b.ts';",
      /may not import server\/metadata/,
    ],
    [
      'metadata that knows of storage',
      'server/metadata/a.ts',
      "export * from '../storage/b.ts';",
      /may not import server\/storage/,
    ],
    [
      'a cache that knows of HTTP',
      'server/cache/caches.ts',
      "import type { B } from '../http/b.ts';",
      /may not import server\/http/,
    ],
    [
      'a lazy import upwards',
      'server/cache/caches.ts',
      "const b = await import('../http/b.ts');",
      /may not import server\/http/,
    ],
    [
      'an arrow up within a house',
      'server/cache/paths/a.ts',
      "import type { B } from '../../cache/push/b.ts';",
      /server\/cache\/paths may not import server\/cache\/push/,
    ],
    [
      'a room that knows of the house above it',
      'server/cache/paths/a.ts',
      "import type { B } from '../binary-cache.ts';",
      /server\/cache\/paths may not import server\/cache \(/,
    ],
    ['a file beside the rooms that has no place', 'server/cache/a.ts', '', /lies in no room/],
    [
      'a runtime that knows of caches',
      'operator/runtime/a.ts',
      "import type { B } from '../../crds/index.ts';",
      /operator\/runtime may not import crds .*no other room/,
    ],
    [
      'a room that imports the wiring',
      'server/http/a.ts',
      "import { log } from '../log.ts';",
      /may not import server /,
    ],
    [
      'a product that imports a tool',
      'server/main.ts',
      "import { x } from '../hack/lib/run.mjs';",
      /may not import hack/,
    ],
    [
      'a product that imports a test',
      'server/main.ts',
      "import { x } from '../test/support/nix.ts';",
      /may not import test/,
    ],
    ['a tool that imports a test', 'hack/a.mjs', "import { x } from '../test/support/nix.ts';", /may not import test/],
    [
      'a product that imports the bench',
      'server/main.ts',
      "import { x } from '../hack/bench/push.ts';",
      /may not import hack\/bench/,
    ],
    ['a builtin without its prefix', 'server/http/a.ts', "import http from 'http';", /write node:http/],
    ['a file in no room', 'lib/a.ts', '', /lies in no room/],
  ];
  for (const [title, file, line, problem] of refused) {
    it(`refuses ${title}`, () => {
      const problems = problemsOf({ [file]: line });
      assert.equal(problems.length, 1);
      assert.match(problems[0] ?? '', problem);
    });
  }

  it('names the line', () => {
    const problems = problemsOf({
      'server/nix/a.ts': "// first\nimport a from 'node:util';\n\nimport b from 'node:net';",
    });
    assert.match(problems[0] ?? '', /^server\/nix\/a\.ts:4: /);
  });

  it('refuses to reach past a door, except in tests', () => {
    const files = {
      'server/storage/index.ts': "export { a } from './local.ts';",
      'server/storage/local.ts': 'export const a = 1;',
      'server/cache/caches.ts': "import { a } from '../storage/local.ts';",
      'test/unit/a.test.ts': "import { a } from '../../server/storage/local.ts';",
    };
    assert.deepEqual(problemsOf(files), [
      'server/cache/caches.ts:1: reaches past the door server/storage/index.ts to server/storage/local.ts',
    ]);
  });

  it('finds a cycle, of types too', () => {
    for (const words of ['import { a }', 'import type { A }'])
      assert.deepEqual(
        problemsOf({
          'server/nix/a.ts': "import { b } from './b.ts';",
          'server/nix/b.ts': `${words} from './a.ts';`,
        }),
        ['import cycle: server/nix/a.ts -> server/nix/b.ts -> server/nix/a.ts'],
      );
  });
});

describe('the import lines', () => {
  it('are found over several lines, and not in comments or texts', () => {
    const text = [
      'import {',
      '  a,',
      "} from './a.ts';",
      "// import './comment.ts';",
      "/** {@link import('./doc.ts').Doc} */",
      'const text = "import x from \'./text.ts\'";',
      "export type { B } from './b.ts';",
    ].join('\n');
    assert.deepEqual(importsOf(text), [
      { specifier: './a.ts', typeOnly: false, line: 1 },
      { specifier: './b.ts', typeOnly: true, line: 7 },
    ]);
  });
});
