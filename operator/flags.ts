/** What the values of the operator's flags may be. */
import { isIP } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import type { HostRule } from './cache/index.ts';
import type { OperatorOptions } from './options.ts';

export function variable(flags: string, description: string, name: string, value: string): Option {
  return new Option(flags, description).env(name).default(value);
}

export function names(flags: string, description: string, name: string): Option {
  return new Option(flags, `${description}; with commas between them`).env(name).argParser(wordsOf).default([], 'none');
}

export const wordsOf = (text: string): string[] => text.split(',').filter((it) => it !== '');

export function hostRules(text: string): HostRule[] {
  return wordsOf(text).map((rule) => {
    const [, namespace, host] = /^([a-z0-9-]+|\*)=([a-z0-9.{}-]+|\*(?:\.[a-z0-9.{}-]+)?)$/.exec(rule) ?? [];
    if (namespace === undefined || host === undefined)
      throw new InvalidArgumentError(
        `expected namespace=host, such as team=nix.example.org or *=*.{namespace}.example.org: ${rule}`,
      );
    return { namespace, host };
  });
}

const MOST_SECONDS = 86_400;

export function seconds(flags: string, description: string, name: string, value: number): Option {
  const parse = (text: string) => {
    const number = Number(text);
    // Timers of more than 24 days would not wait at all.
    if (!(number > 0 && number <= MOST_SECONDS))
      throw new InvalidArgumentError(`expected a number of seconds above 0, at most ${MOST_SECONDS} (a day)`);
    return number;
  };
  return new Option(flags, description).env(name).argParser(parse).default(value);
}

export function count(flags: string, description: string, name: string, value: number, most: number): Option {
  const parse = (text: string) => {
    const number = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number <= most)) throw new InvalidArgumentError(`expected a whole number from 1 to ${most}`);
    return number;
  };
  return new Option(flags, description).env(name).argParser(parse).default(value);
}

export function days(flags: string, description: string, name: string): Option {
  return new Option(flags, description).env(name).argParser((text) => {
    const number = Number(text);
    if (!(number > 0 && number <= 36_525)) throw new InvalidArgumentError('expected a number of days above 0');
    return number;
  });
}

export const DAY_MS = 86_400_000;

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('expected a whole number above 0');
  return Number(text);
}

export function apiUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // Neither path nor user, query or fragment.
  const isHost = url && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`;
  if (!isHost) throw new InvalidArgumentError('expected http://host or https://host, without a path');
  if (isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0)
    throw new InvalidArgumentError('expected a host by its name: each cache has a name below it');
  return url.origin;
}

export function listenAddress(text: string): OperatorOptions['listen'] {
  const [, host, port = ''] = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]*):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65535) throw new InvalidArgumentError('expected host:port or :port');
  return { host: host?.replace(/^\[|\]$/g, '') || undefined, port: Number(port) };
}
