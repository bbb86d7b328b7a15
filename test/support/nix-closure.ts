// A realistic closure in a nix client's store: what a cache meets in real life, made without any package set.
import { createCipheriv, createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { NixClient } from './nix.ts';

export interface ClosureOptions {
  /** How many small paths with references among themselves; 40 unless told. */
  readonly texts?: number;
  /** Bytes of one file that no compression makes smaller; none when 0. Above 64 MB it does not fit nix's buffers. */
  readonly bigBytes?: number;
  /** Built paths: a deriver, a log, a reference to itself, a content-addressed one. Needs user namespaces. */
  readonly built?: boolean;
  /** Other seeds give other paths. */
  readonly seed?: string;
}

export interface Closure {
  /** Every path, references before their referrers. */
  readonly all: readonly string[];
  /** A path whose closure holds every text. */
  readonly top: string;
  /** A folder with files, an executable, a symlink, an empty folder and odd names. */
  readonly tree: string;
  /** A path whose name is as long as a name may be. */
  readonly longName: string;
  /** A path with `+`, `=`, `?` in its name. */
  readonly oddName: string;
  readonly big?: string;
  readonly built?: { readonly selfReference: string; readonly contentAddressed: string };
}

// Store path names have at most 211 characters.
const LONG_NAME = `long-${'n'.repeat(202)}-1.0`;
const ODD_NAME = 'odd+name=with?signs-1.0';
// Sizes as in real closures: many small paths, few large ones.
const TEXT_SIZES = [180, 400, 900, 2_000, 4_000, 9_000, 20_000, 50_000];

/** Fills the client's store and tells what is in it. The same options give the same paths with every nix. */
export async function makeClosure(client: NixClient, options: ClosureOptions = {}): Promise<Closure> {
  const { texts = 40, bigBytes = 0, built = false, seed = 'narwhal' } = options;
  const random = new SeededBytes(seed);
  const chain = await addTexts(client, texts, random);
  const tree = await client.addTree('tree-1.0', realTree(random));
  const oddName = await client.addTree(ODD_NAME, 'odd\n');
  const longName = await client.addTree(LONG_NAME, 'long\n');
  const top = chain.at(-1);
  if (top === undefined) throw new Error('a closure has at least one text');
  const big = bigBytes > 0 ? await addBig(client, bigBytes, random) : undefined;
  const results = built ? await addBuilt(client, seed) : undefined;
  return {
    all: [...chain, tree, oddName, longName, ...(big ? [big] : []), ...(results ? Object.values(results) : [])],
    top,
    tree,
    longName,
    oddName,
    ...(big ? { big } : {}),
    ...(results ? { built: results } : {}),
  };
}

/** Texts of which each refers to up to five earlier ones, the last to all that nobody refers to yet. */
async function addTexts(client: NixClient, count: number, random: SeededBytes): Promise<string[]> {
  const unreferenced = new Set<number>();
  const bindings: string[] = [];
  for (let index = 0; index < count; index++) {
    const wanted = index === 0 ? 0 : random.below(6);
    const picked = Array.from({ length: wanted }, () => random.below(index));
    const references = index === count - 1 ? [...unreferenced] : [...new Set(picked)];
    for (const reference of references) unreferenced.delete(reference);
    unreferenced.add(index);
    const size = TEXT_SIZES[random.below(TEXT_SIZES.length)] ?? 0;
    const lines = references.map((reference) => `\${p${reference}}\\n`).join('');
    const content = random.take(Math.ceil((size * 3) / 4)).toString('base64');
    bindings.push(`p${index} = builtins.toFile "text-${index}-1.${index}" "${lines}${content}";`);
  }
  const names = Array.from({ length: count }, (_, index) => `p${index}`);
  const paths = await client.evaluate(`let ${bindings.join('\n')} in [ ${names.join(' ')} ]`);
  if (!Array.isArray(paths)) throw new Error('nix-instantiate answered no list');
  return paths.map(String);
}

function realTree(random: SeededBytes) {
  return {
    entries: {
      bin: { entries: { hello: { executable: '#!/bin/sh\necho hello\n' }, alias: { symlink: 'hello' } } },
      lib: { entries: { 'data.bin': random.take(100_000), 'eight.bin': random.take(8), 'empty.txt': '' } },
      share: {
        entries: {
          'empty folder': { entries: {} },
          'späte Datei': 'names are bytes\n',
          dangling: { symlink: '../none' },
        },
      },
    },
  };
}

async function addBig(client: NixClient, bytes: number, random: SeededBytes): Promise<string> {
  const file = path.join(client.dir, 'tmp', 'big');
  const handle = await fs.open(file, 'w');
  try {
    for (let left = bytes; left > 0; left -= 1 << 20) await handle.write(random.take(Math.min(left, 1 << 20)));
    await handle.close();
    return await client.addPath(file, 'big-1.0');
  } finally {
    await fs.rm(file, { force: true });
  }
}

async function addBuilt(client: NixClient, seed: string) {
  const common = 'system = builtins.currentSystem; builder = "/bin/sh";';
  const script = `args = [ "-c" "echo building ${seed}; echo $out > $out" ];`;
  const addressed = '__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";';
  const [selfReference, contentAddressed] = await client.build(
    `[ (derivation { name = "self-1.0"; ${common} ${script} })
       (derivation { name = "addressed-1.0"; ${common} ${script} ${addressed} }) ]`,
  );
  if (!selfReference || !contentAddressed) throw new Error('nix-build did not answer two paths');
  return { selfReference, contentAddressed };
}

/** Bytes that no compression makes smaller, the same for the same seed: a cipher's key stream. */
class SeededBytes {
  readonly #cipher;

  constructor(seed: string) {
    const key = createHash('sha256').update(seed).digest();
    this.#cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  }

  take(bytes: number): Buffer {
    return this.#cipher.update(Buffer.alloc(bytes));
  }

  below(limit: number): number {
    return this.take(4).readUInt32LE() % limit;
  }
}
