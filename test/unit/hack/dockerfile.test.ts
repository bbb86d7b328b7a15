import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { productConfig, productLabels } from '../../../hack/image/product.mjs';
import { root } from '../../../hack/lib/places.mjs';

const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8');
const packageJson = JSON.parse(read('package.json'));

/** The instructions, each in a line: what it is and the rest. */
function instructions(text: string): { name: string; rest: string }[] {
  return text
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ name: line.slice(0, line.indexOf(' ')), rest: line.slice(line.indexOf(' ') + 1) }));
}

describe('the Dockerfile', () => {
  const all = instructions(read('Dockerfile'));
  const last = all.slice(all.findLastIndex(({ name }) => name === 'FROM'));
  const restOf = (wanted: string) => last.filter(({ name }) => name === wanted).map(({ rest }) => rest);
  const pairs = (rest: string) =>
    [...rest.matchAll(/(\S+?)=(?:"([^"]*)"|(\S*))/g)].map((it) => [it[1], it[2] ?? it[3]]);

  it('has the configuration that hack/image has', () => {
    const config = {
      User: restOf('USER').join(),
      ExposedPorts: Object.fromEntries(
        restOf('EXPOSE').flatMap((rest) => rest.split(' ').map((port) => [`${port}/tcp`, {}])),
      ),
      Env: restOf('ENV').flatMap((rest) => pairs(rest).map((pair) => pair.join('='))),
      Entrypoint: JSON.parse(restOf('ENTRYPOINT').join()),
      Cmd: JSON.parse(restOf('CMD').join()),
      WorkingDir: restOf('WORKDIR').join(),
    };
    assert.deepEqual(config, productConfig);
  });

  it('has the labels that hack/image has', () => {
    assert.deepEqual(Object.fromEntries(restOf('LABEL').flatMap(pairs)), productLabels(packageJson));
  });

  it('builds with the Node of the lockfile', () => {
    const { version } = JSON.parse(read('package-lock.json')).packages['node_modules/node'];
    assert.ok(all.some(({ name, rest }) => name === 'ARG' && rest === `NODE_VERSION=${version}`));
  });

  it('begins with images by digest, and ends where the digest is of another Node than the lockfile', () => {
    const args = Object.fromEntries(
      all.filter(({ name }) => name === 'ARG').map(({ rest }) => rest.split(/=(.*)/s).slice(0, 2)),
    );
    const froms = all.filter(({ name }) => name === 'FROM').map(({ rest }) => rest.split(' ')[0] ?? '');
    const stages = new Set(
      all.flatMap(({ name, rest }) => (name === 'FROM' ? (/ AS (\S+)$/.exec(rest)?.[1] ?? []) : [])),
    );
    for (const from of froms.filter((it) => !stages.has(it))) {
      const [, arg = ''] = /^\$\{(\w+)\}$/.exec(from) ?? [];
      assert.match(args[arg] ?? from, /^\S+@sha256:[0-9a-f]{64}$/, from);
    }
    // Beside a digest the tag is a comment.
    assert.ok(
      all.some(
        ({ name, rest }) => name === 'RUN' && /^test "\$\(node --version\)" = "v\$\{NODE_VERSION\}"$/.test(rest),
      ),
    );
  });

  it('is of no certain architecture, and names no registry of packages', () => {
    assert.doesNotMatch(read('Dockerfile'), /amd64|arm64|x86_64|aarch64|--platform|npm_config|registry=/);
  });

  it('finds everything that it copies among what is sent to the builder', () => {
    const sent = read('.dockerignore').match(/(?<=^!).*$/gm) ?? [];
    for (const { name, rest } of all) {
      if (name !== 'COPY' || rest.startsWith('--from')) continue;
      for (const source of rest.split(' ').slice(0, -1))
        assert.ok(source === '.' || sent.some((it) => source === it || source.startsWith(`${it}/`)), source);
    }
    for (const name of sent) assert.ok(fs.existsSync(path.join(root, name)), name);
  });
});
