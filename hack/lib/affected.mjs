// Which test files a change can reach: by imports, and by names of files that a test reads or starts. Whatever is not
// understood reaches everything, so that a test is left out only where nothing leads to it.
import path from 'node:path';
import { importsOf } from '../check-dependencies.mjs';

const SOURCE = /\.(ts|mjs)$/;
const TEST = /^test\/(unit|integration|crash|alone|e2e)\/.*\.test\.ts$/;

/** What may change anything: what is installed, how sources are run, how tests are. */
const EVERYTHING =
  /^(package\.json|package-lock\.json|tsconfig[^/]*\.json|\.mocharc\.json|hack\/(build|setup|test|components|mocha-reporter)\.mjs|hack\/lib\/(batches|lock|places|run|skip|sqlite3|prebuilt-sqlite3|test-files|launch|build)\.[^/]+)$/;

/** Pages that no test reads change nothing. */
const PAGES = /(\.md|^LICENSE)$/;

/** What files reach beside their imports, where the names in them do not tell. */
const REACHES = {
  'hack/lib/places.mjs': [],
  // It names what it runs, which is told by the tests themselves.
  'hack/lib/test-files.mjs': [],
  'hack/bench/top.mjs': [],
  'hack/lib/changed-files.mjs': [],
  // Those who call it name what they give.
  'hack/image/kept.mjs': [],
  'hack/lib/build.mjs': [],
  'test/support/built.ts': [],
  'hack/lib/sources.mjs': ['crds', 'hack', 'operator', 'server', 'test'],
  // What goes into the image is compiled from what these two import.
  'hack/image/make.mjs': ['server/main.ts', 'operator/main.ts'],
  // nix reads what the files at the top name.
  'test/support/flake.ts': ['flake.nix', 'default.nix', 'shell.nix', 'hack/nix', 'test/support/nixpkgs-stub'],
};

/** What starts before the tests of a stage, for all of them. */
const BEFORE = {
  // A cluster with this clone's images.
  e2e: ['hack/e2e.mjs', 'hack/image.mjs', 'hack/image/client.mjs', 'server/main.ts', 'operator/main.ts'],
};

export class Reach {
  #files;
  #folders = new Map();
  #textOf;
  #edges = new Map();
  /** What each test file leads to; undefined: nobody knows. */
  #reached;

  /**
   * @param {readonly string[]} files paths with slashes from the root on: all that are there, and those that were removed
   * @param {(file: string) => string} textOf
   */
  constructor(files, textOf) {
    this.#files = new Set(files);
    this.#textOf = textOf;
    for (const file of files)
      for (let folder = path.posix.dirname(file); folder !== '.'; folder = path.posix.dirname(folder)) {
        if (!this.#folders.has(folder)) this.#folders.set(folder, []);
        this.#folders.get(folder).push(file);
      }
    const tests = files.filter((file) => TEST.test(file)).sort();
    this.#reached = new Map(tests.map((test) => [test, this.#reach(test)]));
  }

  /**
   * @param {readonly string[]} changed
   * @returns {{ tests: string[], all: string[], because?: string }} `because`: why all of them run
   */
  tests(changed) {
    const all = [...this.#reached.keys()];
    const decisive = changed.find((file) => EVERYTHING.test(file));
    if (decisive !== undefined) return { tests: all, all, because: `${decisive} may change anything` };
    // Sources that no test leads to are tools for people.
    const strange = changed.find((file) => !SOURCE.test(file) && !PAGES.test(file) && !this.#isKnown(file));
    if (strange !== undefined) return { tests: all, all, because: `nobody knows what ${strange} changes` };
    const mustRun = (places) => places === undefined || changed.some((file) => places.has(file));
    return { tests: all.filter((test) => mustRun(this.#reached.get(test))), all };
  }

  #isKnown(file) {
    return [...this.#reached.values()].some((places) => places?.has(file));
  }

  /** Every file that `start` leads to, itself included; undefined: nobody knows. */
  #reach(start) {
    const first = [start, ...(BEFORE[start.split('/')[1]] ?? [])];
    const seen = new Set(first);
    const waiting = first;
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      const edges = this.#edgesOf(file);
      if (edges === undefined) return undefined;
      for (const next of edges) {
        if (seen.has(next)) continue;
        seen.add(next);
        waiting.push(next);
      }
    }
    return seen;
  }

  #edgesOf(file) {
    if (!this.#edges.has(file)) this.#edges.set(file, SOURCE.test(file) ? this.#lookFor(file) : []);
    return this.#edges.get(file);
  }

  #lookFor(file) {
    const text = this.#textOf(file);
    // A module whose name is computed.
    if (/\bimport\(\s*[^\s'"`)/]/.test(withoutComments(text))) return undefined;
    const folder = path.posix.dirname(file);
    const specifiers = importsOf(text).map(({ specifier }) => specifier);
    const imported = specifiers.flatMap((specifier) =>
      specifier.startsWith('.') ? this.#at(path.posix.join(folder, specifier)) : [],
    );
    // The product finds its own files beside itself, and knows nothing of the clone.
    const isProduct = /^(crds|operator|server)\//.test(file);
    const given = REACHES[file]?.flatMap((name) => this.#at(name));
    const named = namesIn(text).flatMap(({ name, isOfRoot, isFilled }) => {
      if (specifiers.includes(name) || (isProduct && !name.startsWith('.'))) return [];
      const isWord = !/[./]/.test(name);
      const places = isWord ? [] : [path.posix.join(folder, name)];
      if (!isProduct && (!isWord || isOfRoot || this.#files.has(name))) places.push(path.posix.normalize(name));
      return places.flatMap((place) => (isFilled ? this.#beginning(place) : this.#at(place)));
    });
    const isUnclear = /\bimport\.meta\.(url|dirname|filename)\b|\{[^}]*\broot\b[^}]*\} from '[^']*places\.mjs'/.test(
      text,
    );
    if (!isProduct && isUnclear && given === undefined && named.length === 0 && !isOnlyStarted(text)) return undefined;
    return [...imported, ...(given ?? named)];
  }

  /** Files whose names begin so. */
  #beginning(place) {
    if (/^[./]*$/.test(place)) return [];
    return [...this.#files].filter((file) => file.startsWith(place));
  }

  /** The file of a name, or all files of a folder; of the clone as a whole nothing is known by that. */
  #at(place) {
    const name = place.replace(/\/$/, '').replace(/^dist\/(.*)\.js$/, '$1.ts');
    return this.#files.has(name) ? [name] : (this.#folders.get(name) ?? []);
  }
}

/** `root` as the folder to run in, and `import.meta` to tell who was started, name no file. */
function isOnlyStarted(text) {
  const rest = text.replace(/\bcwd: root\b/g, '').replace(/import\.meta\.url === pathToFileURL\([^\n]*/g, '');
  return !/\bimport\.meta\b/.test(rest) && (rest.match(/\broot\b/g) ?? []).length <= 1;
}

/** What may be names of files: texts in quotes, and those of templates up to what is filled in. */
function namesIn(text) {
  const found = [];
  const quoted = /(\broot,\s*|\bROOT,\s*)?(['"`])((?:(?!\2)[^\\\n])*)\2/g;
  for (const [, root, , whole] of text.matchAll(quoted)) {
    const filled = whole.indexOf('${');
    const isFilled = filled >= 0;
    const name = isFilled ? whole.slice(0, filled) : whole;
    if (!/^[\w@.][\w@./+-]*$/.test(name) || /^[./]*$/.test(name) || (isFilled && !/\/.*[a-z]|[a-z].*\//i.test(name)))
      continue;
    found.push({ name, isOfRoot: root !== undefined, isFilled });
  }
  return found;
}

function withoutComments(text) {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
}
