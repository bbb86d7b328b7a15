/** What a cache with retention should hold: the rules of it without rows, transactions and memory. Times in days. */
import type { TestPath } from './nars.ts';

/** A path that may be pushed with either of two files of its NAR. */
export interface ModelPath {
  readonly files: readonly [TestPath, TestPath];
  readonly references: readonly number[];
}

interface ModelObject {
  isLost: boolean;
  /** Since when it waits for a path; undefined: one points at it. */
  orphanSince: number | undefined;
}

interface Entry {
  key: string;
  readonly publishedAt: number;
  usedAt: number;
}

interface Rules {
  readonly unusedDays: number;
  readonly minAgeDays: number;
  readonly graceDays: number;
  readonly orphanDays: number;
}

export class RetentionModel {
  readonly paths: readonly ModelPath[];
  readonly #rules: Rules;
  now = 1000;
  readonly objects = new Map<string, ModelObject>();
  readonly published = new Map<number, Entry>();
  readonly retired = new Map<number, Entry & { readonly retiredAt: number }>();

  constructor(paths: readonly ModelPath[], rules: Rules) {
    this.paths = paths;
    this.#rules = rules;
  }

  isServable(it: number): boolean {
    const entry = this.published.get(it);
    if (entry === undefined || this.objects.get(entry.key)?.isLost !== false) return false;
    return this.#references(it).every((to) => this.isServable(to));
  }

  /** Whether a pusher need not send it. */
  isPresent(it: number): boolean {
    const entry = this.published.get(it);
    return entry !== undefined && this.objects.get(entry.key)?.isLost === false;
  }

  #references(it: number): readonly number[] {
    return this.paths[it]?.references ?? [];
  }

  putNar(key: string): void {
    const object = this.objects.get(key);
    const { now } = this;
    if (object === undefined) this.objects.set(key, { isLost: false, orphanSince: now });
    else if (object.isLost) {
      object.isLost = false;
      if (object.orphanSince !== undefined) object.orphanSince = now;
    } else {
      if (object.orphanSince !== undefined || !this.#hasPath(key)) object.orphanSince = now;
      for (const [it, entry] of this.published) if (entry.key === key) this.use(it);
    }
    this.settle();
  }

  #hasPath(key: string): boolean {
    return [...this.published.values()].some((entry) => entry.key === key);
  }

  #isPointedAt(key: string): boolean {
    return this.#hasPath(key) || [...this.retired.values()].some((entry) => entry.key === key);
  }

  publish(it: number, key: string): void {
    const object = this.objects.get(key);
    if (object === undefined || object.isLost) throw new Error('its NAR is not here');
    object.orphanSince = undefined;
    const entry = this.published.get(it);
    if (entry === undefined) this.published.set(it, { key, publishedAt: this.now, usedAt: this.now });
    else {
      if (this.objects.get(entry.key)?.isLost) this.#replace(entry.key, key);
      if (!this.#isPointedAt(key)) object.orphanSince = this.now;
      this.use(it);
    }
    this.revive(this.#references(it));
    this.settle();
  }

  #replace(lost: string, key: string): void {
    for (const entry of [...this.published.values(), ...this.retired.values()]) if (entry.key === lost) entry.key = key;
    this.objects.delete(lost);
  }

  use(it: number): void {
    const entry = this.published.get(it);
    if (entry !== undefined) entry.usedAt = this.now;
  }

  revive(all: readonly number[]): void {
    for (const it of all) {
      const entry = this.retired.get(it);
      if (entry === undefined || this.published.has(it) || this.objects.get(entry.key)?.isLost !== false) continue;
      const { key, publishedAt } = entry;
      this.retired.delete(it);
      this.published.set(it, { key, publishedAt, usedAt: this.now });
      const object = this.objects.get(key);
      if (object !== undefined) object.orphanSince = undefined;
      this.revive(this.#references(it));
    }
  }

  /** A NAR that has just lost a path that pointed at it. */
  #orphan(key: string): void {
    const object = this.objects.get(key);
    if (object !== undefined && object.orphanSince === undefined && !this.#isPointedAt(key)) object.orphanSince = 0;
  }

  /** What a collection must leave, used or not. */
  protected(): Set<number> {
    return this.#withNeeds((entry) => entry.publishedAt >= this.now - this.#rules.minAgeDays);
  }

  #withNeeds(isWanted: (entry: Entry) => boolean): Set<number> {
    const stays = new Set<number>();
    const visit = (it: number) => {
      // What is not here, nobody knows the needs of.
      if (stays.has(it) || !this.published.has(it)) return;
      stays.add(it);
      for (const to of this.#references(it)) visit(to);
    };
    for (const [it, entry] of this.published) if (isWanted(entry)) visit(it);
    return stays;
  }

  /** What nobody has used for long, nor anything that needs it. */
  unused(): number[] {
    const { minAgeDays, unusedDays } = this.#rules;
    const stays = this.#withNeeds(
      (entry) =>
        Math.max(entry.publishedAt, entry.usedAt) >= this.now - unusedDays ||
        entry.publishedAt >= this.now - minAgeDays,
    );
    return [...this.published.keys()].filter((it) => !stays.has(it));
  }

  retire(all: readonly number[]): void {
    for (const it of all) {
      const entry = this.published.get(it);
      if (entry === undefined) continue;
      const before = this.retired.get(it);
      this.published.delete(it);
      this.retired.set(it, { ...entry, retiredAt: this.now });
      if (before !== undefined) this.#orphan(before.key);
    }
    this.settle();
  }

  expire(): void {
    for (const [it, { key, retiredAt }] of this.retired)
      if (retiredAt <= this.now - this.#rules.graceDays) {
        this.retired.delete(it);
        this.#orphan(key);
      }
    for (const [key, object] of this.objects) {
      if (object.orphanSince === undefined || object.orphanSince >= this.now - this.#rules.orphanDays) continue;
      if (this.#isPointedAt(key)) object.orphanSince = undefined;
      else this.objects.delete(key);
    }
    this.settle();
  }

  giveUp(key: string): void {
    for (const entries of [this.published, this.retired])
      for (const [it, entry] of entries) if (entry.key === key) entries.delete(it);
    this.objects.delete(key);
  }

  /** Whatever a published path waits for, and is retired, comes back. */
  settle(): void {
    for (let before = -1; before !== this.published.size; ) {
      before = this.published.size;
      for (const it of [...this.published.keys()])
        for (const to of this.#references(it)) if (!this.isServable(to)) this.revive([to]);
    }
  }
}
