import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pruneModules } from '../../../hack/image/prune.mjs';
import { sbomOf } from '../../../hack/image/sbom.mjs';
import { productionTree } from '../../../hack/image/tree.mjs';
import { root } from '../../../hack/lib/places.mjs';

const readJson = (file: string) => JSON.parse(fs.readFileSync(path.join(root, file), 'utf8'));

/** A lockfile of packages, each with what it depends on. */
function lockfile(packages: Record<string, Record<string, unknown>>) {
  const entries = Object.entries(packages).map(([place, it]) => [place, { version: '1.0.0', license: 'MIT', ...it }]);
  return { packages: Object.fromEntries(entries) };
}

const needs = (...names: string[]) => Object.fromEntries(names.map((name) => [name, '*']));
const placesOf = (packages: Record<string, Record<string, unknown>>) =>
  productionTree(lockfile(packages)).map(({ place }) => place);

describe('the packages of the image', () => {
  it('are what the product depends on, where Node finds it', () => {
    const places = placesOf({
      '': { dependencies: needs('a'), devDependencies: needs('tool') },
      'node_modules/a': { dependencies: needs('b', '@s/c') },
      'node_modules/a/node_modules/b': { dependencies: needs('d') },
      'node_modules/b': {},
      'node_modules/@s/c': { dependencies: needs('b') },
      'node_modules/d': {},
      'node_modules/tool': {},
    });
    const expected = ['@s/c', 'a', 'a/node_modules/b', 'b', 'd'].map((name) => `node_modules/${name}`);
    assert.deepEqual(places, expected);
  });

  it('leave out types, what compiles addons, and what an optional dependency would be', () => {
    const places = placesOf({
      '': { dependencies: needs('sqlite3', 'knex') },
      'node_modules/sqlite3': { dependencies: needs('tar', 'bindings'), optionalDependencies: needs('node-gyp') },
      'node_modules/knex': {
        dependencies: needs('@types/node'),
        peerDependencies: needs('mysql', 'sqlite3'),
        peerDependenciesMeta: { mysql: { optional: true } },
      },
      'node_modules/bindings': {},
      'node_modules/tar': {},
      'node_modules/node-gyp': {},
      'node_modules/@types/node': {},
    });
    assert.deepEqual(places, ['node_modules/bindings', 'node_modules/knex', 'node_modules/sqlite3']);
  });

  it('must all be in the lockfile', () => {
    assert.throws(() => placesOf({ '': { dependencies: needs('a') } }), /package-lock.json names no a/);
  });

  it('lose what is never read, and keep code and licences', () => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-prune-'));
    const write = (name: string) => {
      fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
      fs.writeFileSync(path.join(dir, name), '');
    };
    try {
      const kept = ['a/LICENSE.md', 'a/data.json', 'a/dist/test/lib.js', 'a/index.js', 'a/node_modules/b/index.mjs'];
      const gone = [
        'a/README.md',
        'a/index.d.ts',
        'a/index.js.map',
        'a/test/a.js',
        'a/.eslintrc',
        'a/node_modules/x/x.js',
      ];
      const others = ['x/index.js', '@types/node/index.d.ts', '.bin/a', '.package-lock.json', 'sqlite3/src/a.cc'];
      for (const name of [...kept, ...gone, ...others]) write(`node_modules/${name}`);
      const text = lockfile({
        '': { dependencies: needs('a') },
        'node_modules/a': { dependencies: needs('b') },
        'node_modules/a/node_modules/b': {},
      });
      fs.writeFileSync(path.join(dir, 'package-lock.json'), JSON.stringify(text));
      pruneModules(dir);
      const left = fs.readdirSync(path.join(dir, 'node_modules'), { recursive: true, withFileTypes: true });
      const files = left.filter((it) => it.isFile()).map((it) => path.relative(dir, path.join(it.parentPath, it.name)));
      assert.deepEqual(
        files.sort(),
        kept.map((name) => `node_modules/${name}`),
      );
      assert.ok(!fs.existsSync(path.join(dir, 'node_modules/a/test')));
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });
});

describe('the SBOM', () => {
  const content = {
    manifest: readJson('package.json'),
    lockfile: readJson('package-lock.json'),
    nodeVersion: '24.0.0',
    debian: [{ name: 'libc6', version: '2.36-9+deb12u1', architecture: 'amd64' }],
  };

  it('is the same for the same content, without a time, and has a serial number of its own', () => {
    const text = sbomOf(content);
    assert.equal(sbomOf(content), text);
    assert.doesNotMatch(text, /timestamp/);
    const serial = (of: string) => JSON.parse(of).serialNumber;
    assert.match(serial(text), /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.notEqual(serial(sbomOf({ ...content, nodeVersion: '24.0.1' })), serial(text));
  });

  it('names every direct dependency, Node and the packages of Debian', () => {
    const { components, dependencies } = JSON.parse(sbomOf(content));
    const names = components.map(({ name }: { name: string }) => name);
    for (const name of [...Object.keys(content.manifest.dependencies), 'node', 'libc6'])
      assert.ok(names.includes(name), name);
    const [{ dependsOn }] = dependencies;
    assert.equal(dependsOn.length, Object.keys(content.manifest.dependencies).length + 1);
  });
});
