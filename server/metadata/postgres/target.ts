/** Which PostgreSQL database a cache has, and how it is reached: out of a Secret. The password is never printed. */
import { DatabaseError } from '../errors.ts';

export type TlsMode = 'Disable' | 'Require' | 'VerifyCa' | 'VerifyFull';

export interface TlsPlan {
  readonly mode: TlsMode;
  /** Certificates that are trusted, PEM; undefined: those that Node trusts. */
  readonly ca: string | undefined;
}

export interface TargetFields {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly tls: TlsPlan;
}

/** What `sslmode` of a URL means. `allow` and `prefer` promise nothing, so whoever writes them must choose. */
const SSL_MODES: Readonly<Record<string, TlsMode>> = {
  disable: 'Disable',
  require: 'Require',
  'verify-ca': 'VerifyCa',
  'verify-full': 'VerifyFull',
};

/** Parameters of a URL that change nothing here. */
const IGNORED = new Set(['application_name', 'connect_timeout', 'host']);

const FORM = 'expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE';

export class PostgresTarget {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly tls: TlsPlan;
  readonly #password: string;

  constructor(fields: TargetFields) {
    this.host = fields.host;
    this.port = fields.port;
    this.user = fields.user;
    this.database = fields.database;
    this.tls = fields.tls;
    this.#password = fields.password;
  }

  get password(): string {
    return this.#password;
  }

  /** For people: `database narwhal at db.example.org:5432`. */
  describe(): string {
    const host = this.host.includes(':') ? `[${this.host}]` : this.host;
    return `database ${this.database} at ${host}:${this.port}`;
  }

  /** Whether it is the same database, reached the same way; the password may differ. */
  isSameAs(other: PostgresTarget): boolean {
    const facts = ({ host, port, user, database, tls }: PostgresTarget) => [host, port, user, database, tls];
    return JSON.stringify(facts(this)) === JSON.stringify(facts(other));
  }
}

/**
 * Reads a Secret as CloudNativePG and others write it: a URL under `key`, or, where that is missing, host, port, user or
 * username, password, dbname or database.
 * @param value of a key of the Secret, as all values are read: without white space around it
 * @param tls as the manifest says; undefined: what `sslmode` of the URL says, else no TLS
 * @throws DatabaseError Invalid
 */
export function readTarget(
  value: (key: string) => string | undefined,
  key: string,
  tls: TlsPlan | undefined,
): PostgresTarget {
  const url = value(key);
  if (url !== undefined) return parseTarget(url, tls);
  const one = (...names: string[]) => names.map(value).find((it) => it !== undefined);
  const host = one('host');
  const user = one('user', 'username');
  const database = one('dbname', 'database');
  if (host === undefined || user === undefined || database === undefined)
    throw invalid(`the Secret has no key ${key} with a URL; without it, it needs host, user, password and dbname`);
  const port = Number(one('port') ?? 5432);
  if (!isPort(port)) throw invalid('port of the Secret is not a number of a port');
  return new PostgresTarget({
    host,
    port,
    user,
    database,
    password: value('password') ?? '',
    tls: tls ?? { mode: 'Disable', ca: undefined },
  });
}

/** @throws DatabaseError Invalid; no text repeats the URL, which holds the password */
export function parseTarget(text: string, tls: TlsPlan | undefined): PostgresTarget {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid(`the URL of the database is not valid: ${FORM}, with special characters of user and password as %XX`);
  }
  if (url.protocol !== 'postgresql:' && url.protocol !== 'postgres:') throw invalid(`the URL of the database: ${FORM}`);
  for (const name of url.searchParams.keys()) {
    if (name === 'sslmode' || IGNORED.has(name)) continue;
    const hint = name.startsWith('ssl') ? '; certificates go into database.postgres.tls of the manifest' : '';
    throw invalid(`the URL of the database has the parameter ${name}, which is not supported${hint}`);
  }
  const host = decoded(url.searchParams.get('host') ?? url.hostname.replace(/^\[|\]$/g, ''));
  const user = decoded(url.username);
  const database = decoded(url.pathname.slice(1));
  if (host === '' || user === '' || database === '') throw invalid(`the URL of the database is incomplete: ${FORM}`);
  if (host.includes(','))
    throw invalid('the URL of the database names several hosts; name the one that leads to the primary');
  const sslmode = url.searchParams.get('sslmode');
  const mode = sslmode === null ? 'Disable' : SSL_MODES[sslmode];
  if (tls === undefined && mode === undefined)
    throw invalid(`sslmode in the URL of the database must be one of ${Object.keys(SSL_MODES).join(', ')}`);
  return new PostgresTarget({
    host,
    port: url.port === '' ? 5432 : Number(url.port),
    user,
    database,
    password: decoded(url.password),
    tls: tls ?? { mode: mode ?? 'Disable', ca: undefined },
  });
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65536;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('the URL of the database has a % that is not followed by two hex digits; write % itself as %25');
  }
}

function invalid(message: string): DatabaseError {
  return new DatabaseError('Invalid', message);
}
