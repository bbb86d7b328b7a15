/** What the values of flags may be. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { parseQuantity, QuantityError } from '../../crds/index.ts';

/** Values of a repeatable flag; one environment variable holds several, with commas. */
export function list(value: string, previous: unknown): string[] {
  const values = value.split(',').filter((item) => item !== '');
  return Array.isArray(previous) && seen.has(previous) ? remember([...previous, ...values]) : remember(values);
}

/** Lists that came from flags, so that the first value replaces a default instead of joining it. */
const seen = new WeakSet<object>();

function remember(values: string[]): string[] {
  seen.add(values);
  return values;
}

export function seconds(flags: string, description: string, variable: string, value: number): Option {
  return new Option(flags, description)
    .env(variable)
    .argParser((text) => {
      const number = Number(text);
      if (!(number > 0)) throw new InvalidArgumentError('expected a number of seconds above 0');
      return number;
    })
    .default(value);
}

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number above 0');
  return Number(text);
}

/** A mask as of the shell's `umask`. One that takes the owner's own rights would keep the server from its files. */
export function umask(text: string): number {
  if (!/^0?0[0-7]{2}$/.test(text)) throw new InvalidArgumentError('expected octal digits such as 077 or 027');
  return Number.parseInt(text, 8);
}

/** Number of a group of this system, which is given by name or number. */
export function group(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const lines = readFileSync('/etc/group', 'utf8').split('\n');
  const gid = lines.map((line) => line.split(':')).find(([name]) => name === text)?.[2];
  if (gid === undefined || text === '') throw new InvalidArgumentError('there is no such group in /etc/group');
  return Number(gid);
}

/** Bytes, as a manifest writes them: `50Mi`. */
export function size(text: string): number {
  try {
    const bytes = parseQuantity(text);
    if (bytes > 0) return bytes;
  } catch (error) {
    if (!(error instanceof QuantityError)) throw error;
  }
  throw new InvalidArgumentError('expected a size above 0, such as 50Mi');
}
