/** What a scenario gets: where it may write, how long it may take, and data that several scenarios share. */
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { type BenchPath, type BigNar, makeBenchPath, smallSizes, writeBigNars } from './data.ts';
import { makeMillion } from './million.ts';
import type { Served } from './processes.ts';
import { median } from './report.ts';

export interface BenchInit {
  readonly folder: string;
  readonly rounds: number;
  /** Little data and short loads: shows that the bench works, and nothing about speed. */
  readonly quick: boolean;
  /** Where Narwhal leaves CPU profiles; none when undefined. */
  readonly profiles: string | undefined;
  readonly say: (line: string) => void;
}

/** One look at one contender, by name of what was seen. */
export type Sample = Readonly<Record<string, number>>;

export class Bench {
  readonly rounds: number;
  readonly quick: boolean;
  readonly say: (line: string) => void;
  readonly #init: BenchInit;
  readonly #running = new Set<Served>();
  #folders = 0;
  #small: readonly BenchPath[] | undefined;
  #big: Promise<BigNar> | undefined;
  #million: Promise<string> | undefined;

  constructor(init: BenchInit) {
    this.#init = init;
    this.rounds = init.rounds;
    this.quick = init.quick;
    this.say = init.say;
  }

  /** Seconds of one load. */
  get seconds(): number {
    return this.quick ? 1 : 3;
  }

  get smallCount(): number {
    return this.quick ? 100 : 1000;
  }

  get bigBytes(): number {
    return this.quick ? 2 ** 26 : 2 ** 30;
  }

  get millionCount(): number {
    return this.quick ? 20_000 : 1_000_000;
  }

  /** Flags for Narwhal's node. */
  get nodeArgs(): string[] {
    const { profiles } = this.#init;
    return profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`];
  }

  /** A new, empty folder on the measured disk. */
  newFolder(name: string): string {
    const folder = path.join(this.#init.folder, `${name}-${++this.#folders}`);
    mkdirSync(folder);
    return folder;
  }

  /** Small paths, as a closure has them. */
  small(): readonly BenchPath[] {
    this.#small ??= smallSizes(this.smallCount).map((size, index) => makeBenchPath({ index, size }));
    return this.#small;
  }

  /** One big NAR in files, bare and in zstd. */
  big(): Promise<BigNar> {
    if (this.#big === undefined) {
      this.say(`making a NAR of ${this.bigBytes / 2 ** 20} MiB`);
      this.#big = writeBigNars(this.newFolder('big'), this.bigBytes);
    }
    return this.#big;
  }

  /** The folder of a stopped Narwhal with `millionCount` paths in its database. */
  million(): Promise<string> {
    this.#million ??= makeMillion(this, this.newFolder('million'));
    return this.#million;
  }

  /** Has the process ended with the bench, whatever happens. */
  async serving<S extends Served>(starting: Promise<S>): Promise<S> {
    const served = await starting;
    this.#running.add(served);
    return served;
  }

  async end(served: Served): Promise<void> {
    this.#running.delete(served);
    await served.stop();
  }

  /** Ends what still runs. */
  async close(): Promise<void> {
    for (const served of this.#running) await this.end(served);
  }

  /**
   * Runs all contenders once a round, each round in another order, so that neither a warm disk nor a busy neighbour
   * favours one of them. The medians.
   */
  async compare<Name extends string>(
    contenders: Readonly<Record<Name, () => Promise<Sample>>>,
  ): Promise<Record<Name, Sample>> {
    const names = Object.keys(contenders) as Name[];
    const samples = new Map<Name, Sample[]>(names.map((name) => [name, []]));
    for (let round = 0; round < this.rounds; round++) {
      const shift = round % names.length;
      for (const name of [...names.slice(shift), ...names.slice(0, shift)]) {
        const sample = await contenders[name]();
        samples.get(name)?.push(sample);
        const seen = Object.entries(sample).map(([what, value]) => `${what} ${Number(value.toPrecision(4))}`);
        this.say(`round ${round + 1} of ${this.rounds}, ${name}: ${seen.join(', ')}`);
      }
    }
    return Object.fromEntries(names.map((name) => [name, mediansOf(samples.get(name) ?? [])])) as Record<Name, Sample>;
  }

  /** Removes a folder that is not needed any more: disks of laptops are small. */
  remove(folder: string): void {
    rmSync(folder, { recursive: true, force: true });
  }
}

function mediansOf(samples: readonly Sample[]): Sample {
  const names = Object.keys(samples[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, median(samples.map((sample) => sample[name] ?? Number.NaN))]));
}
