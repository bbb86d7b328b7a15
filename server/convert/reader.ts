import type { Names } from './names.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** A manifest to print, and what to say above it. */
export interface Output {
  content: Fields;
  comment: string[];
}

/** Reads parts of the seed's configuration and collects what a person should know about them. */
export class Reader {
  readonly warnings: string[] = [];

  /** Notes something that a person should look at. */
  warn(where: string, message: string): void {
    this.warnings.push(`${where}: ${message}`);
  }

  /** The entries of a list; what is no list is noted and empty. */
  list(value: unknown, where: string): unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.warn(where, 'is no list: left out');
    return [];
  }

  /** The fields of a mapping; what is no mapping is noted and left out. */
  fields(value: unknown, where: string): Fields | undefined {
    if (isFields(value)) return value;
    this.warn(where, 'is no mapping: left out');
    return undefined;
  }

  /** Notes fields that the seed does not have. */
  unknown(fields: Fields, known: readonly string[], where: string): void {
    for (const name of Object.keys(fields)) {
      if (!known.includes(name)) this.warn(where, `${JSON.stringify(name)} is not a field of the seed: left out`);
    }
  }

  /** A valid name made from one of the seed; a change is noted. */
  name(value: unknown, names: Names, where: string, fallback: string): string {
    const wanted = textOf(value);
    const name = names.make(wanted ?? fallback);
    if (wanted === undefined) this.warn(`${where}.name`, `is missing: ${name} is written instead`);
    else if (wanted !== name)
      this.warn(`${where}.name`, `${JSON.stringify(wanted)} is not allowed or taken: ${name} is written instead`);
    return name;
  }
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** YAML reads a name such as 123 as a number. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value === '' ? undefined : value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}

export function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d+(\.\d+)?%?$/.test(value) ? Number.parseFloat(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}
