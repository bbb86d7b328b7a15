// Who may import whom. Reads import lines only, so that it is fast and needs no compiler; docs/architecture.md explains the rooms.
import { isBuiltin } from 'node:module';
import path from 'node:path';

const FORMATS = ['crds', 'server/nix'];
const SHARES = 'server/shares';
const BUFFERS = 'server/buffers';
const BELOW_CACHES = [...FORMATS, SHARES, BUFFERS, 'server/storage', 'server/metadata'];
const BELOW_HTTP = [...BELOW_CACHES, 'server/cache', 'server/wire'];
const BELOW_CLI = [...BELOW_HTTP, 'server/http', 'server/gateway', 'server'];
const OPERATOR = ['operator/runtime', 'operator/cache', 'operator/gateway', 'operator'];

/** The floors of a house, from the top down: each room may enter those below it, by their doors. */
const CACHE = floors('server/cache', BELOW_CACHES, [
  { files: ['index', 'caches', 'binary-cache', 'credentials', 'move-objects', 'resolve'] },
  ...['upkeep', 'listing', 'retention', 'moving', 'push', 'pins', 'paths', 'retired', 'closures', 'use'],
  ...['objects', 'blocks', 'storages', 'signing', 'database', 'access', 'flow', 'verify'],
  { files: ['settings', 'metrics', 'naming', 'errors'] },
]);
const RECONCILER = floors(
  'operator/cache',
  [...FORMATS, 'operator/runtime'],
  [
    { files: ['index', 'reconcile'] },
    'status',
    { files: ['act'] },
    ...['plan', 'observe', 'secrets', 'desired'],
    { files: ['names', 'types', 'reasons'] },
  ],
);
const PRODUCT = [...BELOW_CLI, 'server/convert', 'server/cli', ...OPERATOR, ...CACHE, ...RECONCILER].map(
  (room) => room.name ?? room,
);

/**
 * The rooms, the most specific first. `may`: rooms it may import besides itself. `builtins` and `packages`: a list of
 * what is allowed from outside, or everything when absent. `product`: bound to other rooms' doors. `files`: these of its
 * folder only; `filesOnly`: no folder in it.
 */
const ROOMS = [
  { name: 'crds', may: [], product: true },
  {
    name: 'server/nix',
    may: [],
    builtins: ['node:assert', 'node:buffer', 'node:crypto', 'node:util'],
    packages: [],
    product: true,
  },
  { name: SHARES, may: [], product: true },
  { name: BUFFERS, may: [], product: true },
  { name: 'server/storage', may: [...FORMATS, SHARES, BUFFERS], product: true },
  { name: 'server/metadata', may: FORMATS, product: true },
  { name: 'server/wire', may: [SHARES], product: true },
  ...CACHE,
  { name: 'server/http', may: BELOW_HTTP, product: true },
  { name: 'server/gateway', may: ['crds', BUFFERS, SHARES, 'server/wire'], product: true },
  { name: 'server/convert', may: ['crds'], product: true },
  // Kubernetes is known here alone, for the gateway's table.
  { name: 'server/cli', may: [...BELOW_CLI, 'server/convert', 'operator/runtime'], product: true },
  { name: 'server/main', folder: 'server', files: ['main'], may: ['server/cli'], product: true },
  // serve.ts and what else lies beside the rooms: the wiring.
  { name: 'server', may: BELOW_CLI, product: true, filesOnly: true },
  // Knows Kubernetes, not caches: it could be a package of its own.
  { name: 'operator/runtime', may: [], product: true },
  ...RECONCILER,
  { name: 'operator/gateway', may: [...FORMATS, 'operator/runtime', 'operator/cache'], product: true },
  { name: 'operator', may: [...FORMATS, ...OPERATOR], product: true, filesOnly: true },
  // The bench pushes with the clients that the tests have.
  { name: 'hack/bench', may: [...PRODUCT, 'hack', 'test'], product: false },
  // A cluster is reached, and trusts, as those of the tests.
  { name: 'hack/cluster', may: [...PRODUCT, 'hack', 'test'], product: false },
  { name: 'hack', may: PRODUCT, product: false },
  { name: 'test', may: [...PRODUCT, 'server/main', 'hack', 'hack/bench', 'hack/cluster'], product: false },
];

/**
 * The rooms of a house, each with leave to enter those below. Files beside the rooms are the house itself: the door and
 * what stands above all rooms, or what all of them stand on.
 */
function floors(house, below, list) {
  const named = list.map((it) => {
    if (typeof it === 'string') return { name: `${house}/${it}` };
    return { name: it.files.includes('index') ? house : `${house}/{${it.files}}`, folder: house, files: it.files };
  });
  return named.map((room, index) => ({
    ...room,
    may: [...below, ...named.slice(index + 1).map(({ name }) => name)],
    product: true,
  }));
}

/** Problems in `files` (a Map from path to text), one sentence each. */
export function checkDependencies(files) {
  const problems = [];
  const edges = new Map();
  for (const [file, text] of files) {
    const room = roomOf(file);
    if (!room) {
      problems.push(
        `${file}: lies in no room; put it in one, or add the room to hack/check-dependencies.mjs and docs/architecture.md`,
      );
      continue;
    }
    const targets = [];
    for (const found of importsOf(text)) {
      const problem = found.specifier.startsWith('.')
        ? problemInside(files, file, room, found, targets)
        : problemOutside(room, found.specifier);
      if (problem) problems.push(`${file}:${found.line}: ${problem}`);
    }
    edges.set(file, targets);
  }
  return [...problems, ...cycles(edges)];
}

function roomOf(file) {
  const folder = path.posix.dirname(file);
  const stem = path.posix.basename(file).replace(/\.[a-z]+$/, '');
  return ROOMS.find((room) => {
    if (room.files) return folder === room.folder && room.files.includes(stem);
    return room.filesOnly ? folder === room.name : file.startsWith(`${room.name}/`);
  });
}

function problemInside(files, file, room, { specifier }, targets) {
  const target = path.posix.join(path.posix.dirname(file), specifier);
  if (!/\.(ts|mjs)$/.test(target)) return undefined;
  const other = roomOf(target);
  if (!other) return `imports ${target}, which lies in no room`;
  if (files.has(target)) targets.push(target);
  if (other === room) return undefined;
  if (!room.may.includes(other.name)) {
    const allowed = room.may.length > 0 ? room.may.join(', ') : 'no other room';
    return `${room.name} may not import ${other.name} (${target}); it may import ${allowed}`;
  }
  const door = `${other.name}/index.ts`;
  if (room.product && !other.filesOnly && target !== door && files.has(door))
    return `reaches past the door ${door} to ${target}`;
  return undefined;
}

function problemOutside(room, specifier) {
  if (isBuiltin(specifier)) {
    if (!specifier.startsWith('node:')) return `write node:${specifier}`;
    if (room.builtins && !room.builtins.includes(specifier)) {
      return `${room.name} does no I/O: of Node it may import ${room.builtins.join(', ')}, not ${specifier}`;
    }
    return undefined;
  }
  if (room.packages && !room.packages.includes(specifier))
    return `${room.name} may not import the package ${specifier}`;
  return undefined;
}

/** The imports of a file: what is imported, on which line, and whether only types are. */
export function importsOf(text) {
  const statement =
    /^[ \t]*(?:import|export)\b(?<types>\s+type\b(?!\s*from\b))?(?<names>[^;'"`]*?)\bfrom\s*(['"])(?<specifier>[^'"\n]+)\3/gm;
  const bare = /^[ \t]*import\s*(['"])(?<specifier>[^'"\n]+)\1/gm;
  const dynamic = /\bimport\(\s*(['"])(?<specifier>[^'"\n]+)\1\s*\)/g;
  const found = [];
  for (const pattern of [statement, bare, dynamic]) {
    for (const match of text.matchAll(pattern)) {
      const { specifier, types } = match.groups;
      const start = match.index + match[0].search(/\S/);
      const lineStart = text.lastIndexOf('\n', start) + 1;
      // import('x').Type in a doc comment is a comment.
      if (/^\s*(\/\/|\*|\/\*)/.test(text.slice(lineStart, start))) continue;
      found.push({ specifier, typeOnly: types !== undefined, line: text.slice(0, start).split('\n').length });
    }
  }
  return found;
}

function cycles(edges) {
  const problems = [];
  const state = new Map();
  const trail = [];
  const visit = (file) => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      problems.push(`import cycle: ${[...trail.slice(trail.indexOf(file)), file].join(' -> ')}`);
      return;
    }
    state.set(file, 'open');
    trail.push(file);
    for (const target of edges.get(file) ?? []) visit(target);
    trail.pop();
    state.set(file, 'done');
  };
  for (const file of edges.keys()) visit(file);
  return problems;
}
