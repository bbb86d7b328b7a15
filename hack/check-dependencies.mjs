// Who may import whom. Reads import lines only, so that it is fast and needs no compiler; docs/architecture.md explains the rooms.
import { isBuiltin } from 'node:module';
import path from 'node:path';

const FORMATS = ['crds', 'server/nix'];
const SHARES = 'server/shares';
const BELOW_HTTP = [...FORMATS, SHARES, 'server/storage', 'server/metadata', 'server/cache', 'server/wire'];
const SERVER = ['server/http', 'server/gateway', 'server'];
const OPERATOR = ['operator/runtime', 'operator/cache', 'operator/gateway', 'operator'];
const PRODUCT = [...BELOW_HTTP, ...SERVER, ...OPERATOR];

/**
 * The rooms, the most specific first. `may`: rooms it may import besides itself. `builtins` and `packages`: a list of
 * what is allowed from outside, or everything when absent. `product`: bound to other rooms' doors.
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
  { name: 'server/storage', may: [...FORMATS, SHARES], product: true },
  { name: 'server/metadata', may: FORMATS, product: true },
  { name: 'server/wire', may: [SHARES], product: true },
  { name: 'server/cache', may: [...FORMATS, SHARES, 'server/storage', 'server/metadata'], product: true },
  { name: 'server/http', may: BELOW_HTTP, product: true },
  { name: 'server/gateway', may: ['crds', 'operator/runtime', SHARES, 'server/wire'], product: true },
  // main.ts, convert.ts and what else lies beside the rooms: the wiring.
  { name: 'server', may: [...BELOW_HTTP, ...SERVER], product: true, filesOnly: true },
  // Knows Kubernetes, not caches: it could be a package of its own.
  { name: 'operator/runtime', may: [], product: true },
  { name: 'operator/cache', may: [...FORMATS, 'operator/runtime'], product: true },
  { name: 'operator/gateway', may: [...FORMATS, 'operator/runtime', 'operator/cache'], product: true },
  { name: 'operator', may: [...FORMATS, ...OPERATOR], product: true, filesOnly: true },
  // The bench pushes with the clients that the tests have.
  { name: 'hack/bench', may: [...PRODUCT, 'hack', 'test'], product: false },
  // A cluster is reached, and trusts, as those of the tests.
  { name: 'hack/cluster', may: [...PRODUCT, 'hack', 'test'], product: false },
  { name: 'hack', may: PRODUCT, product: false },
  { name: 'test', may: [...PRODUCT, 'hack', 'hack/bench', 'hack/cluster'], product: false },
];

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
  const isDirectlyIn = (name) => path.posix.dirname(file) === name;
  return ROOMS.find(({ name, filesOnly }) => (filesOnly ? isDirectlyIn(name) : file.startsWith(`${name}/`)));
}

function problemInside(files, file, room, { specifier, typeOnly }, targets) {
  const target = path.posix.join(path.posix.dirname(file), specifier);
  if (!/\.(ts|mjs)$/.test(target)) return undefined;
  const other = roomOf(target);
  if (!other) return `imports ${target}, which lies in no room`;
  // A type is gone at run time: only values make a cycle that can break the start.
  if (!typeOnly && files.has(target)) targets.push(target);
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
