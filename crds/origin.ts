import type { Path } from './path.ts';

/** Where a document came from: what was written, before defaults, and on which lines. */
export interface Origin {
  file: string;
  line: number;
  written: unknown;
  lineOf(path: Path): number;
}

/** Something wrong in a manifest, and where. */
export interface ManifestError {
  file: string;
  line: number;
  /** Empty where the whole document is meant. */
  path: string;
  message: string;
}
