// The packages that the product runs with: what a lockfile names, without what only installing or other runtimes need.

/** Dependencies that are never loaded: by which package (undefined: any), and which. */
const NEVER_LOADED = [
  // Types are for whoever compiles.
  { name: /^@types\// },
  { name: /^undici-types$/ },
  // Node's own modules, anew, for the runtime Bare.
  { name: /^bare-/ },
  // They fetch or compile the addon, which lies in the image; 12 MB.
  { of: 'sqlite3', name: /^(node-addon-api|node-gyp|prebuild-install|tar)$/ },
  // Of liblzma its WebAssembly is used.
  { of: 'node-liblzma', name: /^(node-addon-api|node-gyp-build)$/ },
];

/**
 * @typedef {object} Package
 * @property {string} place as in node_modules/a/node_modules/b
 * @property {string} name
 * @property {string} version
 * @property {string} [license] SPDX, as its package.json says it
 * @property {string} [integrity] as npm writes it, sha512-...
 * @property {string[]} dependsOn places
 */

/**
 * Every package that the product may load, from what package-lock.json names under `dependencies`.
 * @param {{ packages: Record<string, any> }} lockfile
 * @returns {Package[]} in the order of their places; throws when one that is needed is not in the lockfile
 */
export function productionTree({ packages }) {
  const found = new Map();
  const visit = (place) => {
    if (found.has(place)) return;
    const { version, license, integrity } = packages[place];
    const dependsOn = [];
    found.set(place, { place, name: nameAt(place), version, license, integrity, dependsOn });
    for (const { name, optional } of dependenciesOf(place, packages[place])) {
      const target = resolve(packages, place, name);
      if (target === undefined && !optional)
        throw new Error(`package-lock.json names no ${name}, which ${place} needs`);
      if (target === undefined) continue;
      visit(target);
      dependsOn.push(target);
    }
  };
  visit('');
  found.delete('');
  return [...found.values()].sort((a, b) => (a.place < b.place ? -1 : 1));
}

function dependenciesOf(place, { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta }) {
  const of = nameAt(place);
  const names = (list, optional) => Object.keys(list ?? {}).map((name) => ({ name, optional: optional(name) }));
  return [
    ...names(dependencies, (name) => optionalDependencies?.[name] !== undefined),
    ...names(optionalDependencies, () => true),
    // A driver that nobody installed is none that knex will load.
    ...names(peerDependencies, (name) => peerDependenciesMeta?.[name]?.optional === true),
  ].filter(({ name }) => !NEVER_LOADED.some((rule) => (rule.of ?? of) === of && rule.name.test(name)));
}

/** Where Node finds a package: beside, or in the folder of a package around. */
function resolve(packages, place, name) {
  for (let above = place; ; above = above.slice(0, Math.max(0, above.lastIndexOf('/node_modules/')))) {
    const target = above === '' ? `node_modules/${name}` : `${above}/node_modules/${name}`;
    if (packages[target] !== undefined) return target;
    if (above === '') return undefined;
  }
}

/** @param {string} place */
function nameAt(place) {
  return place.split('node_modules/').at(-1) ?? '';
}
