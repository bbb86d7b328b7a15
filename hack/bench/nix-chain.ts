/** Real nix clients of the bench, their stores in memory, and a closure of small paths that refer to each other. */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { NixClient, nixLabelled } from '../../test/support/nix.ts';
import { textBlock } from './data.ts';

/** The nix that most users have. */
const LABEL = '2.34';
const PATH_BYTES = 20_000;
/** The path before, and some further back: a closure is no list. */
const STEPS = [1, 7, 50];

/** Clients whose stores lie in memory where the machine allows it, so that a disk is used by the cache alone. */
export class NixClients {
  readonly #folder: string;
  #count = 0;

  constructor() {
    this.#folder = mkdtempSync(path.join(memoryFolder(), 'narwhal-bench-nix-'));
  }

  async client(): Promise<NixClient> {
    return new NixClient({ version: await nixLabelled(LABEL), dir: path.join(this.#folder, `${++this.#count}`) });
  }

  /** A file with a password for 127.0.0.1. */
  netrc(password: string): string {
    const file = path.join(this.#folder, `netrc-${++this.#count}`);
    writeFileSync(file, `machine 127.0.0.1 login bench password ${password}\n`, { mode: 0o600 });
    return file;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function memoryFolder(): string {
  return statSync('/dev/shm', { throwIfNoEntry: false })?.isDirectory() ? '/dev/shm' : os.tmpdir();
}

/**
 * Puts `count` paths of 20 kB into the client's store, each of which refers to the one before it: nix copies one after the
 * other. The last one, whose closure they all are.
 */
export async function makeChain(client: NixClient, count: number, seed: string): Promise<string> {
  const folder = await client.must(['nix', '--version']).then(() => path.join(client.dir, 'tmp', 'chain'));
  mkdirSync(folder, { recursive: true });
  const bindings = Array.from({ length: count }, (_, index) => {
    const file = path.join(folder, `${seed}-${index}`);
    writeFileSync(file, textBlock(`${seed} ${index}`, PATH_BYTES));
    const references = STEPS.flatMap((step) => (step > index ? [] : [`\${p${index - step}}`]));
    return `p${index} = builtins.toFile "pkg-${seed}-${index}-1.0" ("${references.join('\\n')}" + builtins.readFile ${file});`;
  });
  const top = await client.evaluate(`let ${bindings.join('\n')} in p${count - 1}`);
  return String(top);
}
