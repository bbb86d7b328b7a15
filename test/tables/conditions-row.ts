/** A row of a table of what may be wrong with a cache. */
import type { Scene } from '../support/operator-world.ts';

/** Status, reason, and what the message says; nothing where there is no such condition. */
export type Expected = readonly ['True' | 'False' | 'Unknown', string, RegExp] | undefined;

export interface Row {
  readonly title: string;
  readonly scene: () => Scene;
  readonly expected: Readonly<Record<string, Expected>>;
}

export const fine: Expected = ['True', 'Ready', /./];
