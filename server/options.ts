/** What a process is started with. Read from argv and the environment in main.ts, nowhere else. */
import { homedir } from 'node:os';
import path from 'node:path';
import type { Settings } from './cache/index.ts';
import type { CacheListen, PaceLimits } from './http/index.ts';
import type { Listen, Timeouts } from './wire/index.ts';

export interface ServeOptions {
  readonly files: readonly string[];
  readonly data: string;
  /** Where Secrets are mounted; undefined: they are among the manifests. */
  readonly secrets: string | undefined;
  /** Where volumes are mounted, one for each local storage. */
  readonly storages: string | undefined;
  readonly listen: readonly CacheListen[];
  readonly adminListen: Listen;
  readonly apiUrl: string;
  readonly aliases: readonly string[];
  readonly trustedProxies: readonly string[];
  /** Addresses and networks of proxies on this machine that send files by themselves. */
  readonly fileSenders: readonly string[];
  readonly renameHost: boolean;
  readonly logLevel: string;
  /** Lines for people instead of JSON. */
  readonly prettyLog: boolean;
  readonly banner: boolean;
  readonly timeouts: Timeouts;
  readonly settings: Partial<Settings>;
  readonly shutdownGraceMs: number;
  /** Between two looks at the manifests. */
  readonly reloadMs: number;
  readonly verifyThreads: number | undefined;
  readonly maxVerifications: number | undefined;
  /** Memory for the decoders of each thread. */
  readonly decoderBytes: number;
  /** Files that are sent at one time; further reads wait for a while, then are answered with 503. */
  readonly maxDownloads: number;
  readonly downloadWaitMs: number;
  /** Bodies of pushes that are received at one time; further ones wait. */
  readonly maxPushBodies: number;
  /** Slowest body that is taken. */
  readonly pace: PaceLimits;
  /** Without progress for this long a body or a download loses its place, if others wait. */
  readonly stallMs: number;
  /** Memory for bodies that are read as a whole. */
  readonly bodyMemoryBytes: number;
  /** Memory for bytes on their way to S3. */
  readonly s3BufferBytes: number;
}

/** A flag whose value cannot be used; the message is for the person who wrote it. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

/**
 * `[cache=]host:port`, `[cache=][v6]:port`, or a port alone, which stands for this machine's own clients; `:port` is
 * every address. @throws OptionError that says what is expected
 */
export function parseListen(text: string): CacheListen {
  const [, cache, host = '127.0.0.1', port = ''] =
    /^(?:([a-z0-9][a-z0-9-]*)=)?(?:(\[[0-9a-fA-F:.]+\]|[^:[\]=]*):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65535) throw new OptionError(`${text}: expected host:port or cache=host:port`);
  return { host: host.replace(/^\[|\]$/g, '') || undefined, port: Number(port), cache };
}

/** Where data lies when nothing is said: what the platform has for it. */
export function defaultDataFolder(env: NodeJS.ProcessEnv, platform: NodeJS.Platform = process.platform): string {
  if (env.XDG_DATA_HOME) return path.join(env.XDG_DATA_HOME, 'narwhal');
  if (platform === 'darwin') return path.join(homedir(), 'Library/Application Support/narwhal');
  return path.join(homedir(), '.local/share/narwhal');
}

/** The API URL that belongs to the first listener: `localhost`, since nix resolves `<cache>.localhost` by itself. */
export function defaultApiUrl(listen: Listen, port: number): string {
  const { host = '::' } = listen;
  const local = ['127.0.0.1', '0.0.0.0', '::1', '::', 'localhost'].includes(host);
  return `http://${local ? 'localhost' : host}${port === 80 ? '' : `:${port}`}`;
}
