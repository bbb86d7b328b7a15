/** Which errors of PostgreSQL and its driver pass by themselves, and what the others mean to a person. */
import { DatabaseError, type DatabaseErrorCode } from '../errors.ts';
import type { PostgresTarget } from './target.ts';

/** errcodes-appendix.html; class 08 (connection) beside them. */
const PASSING_STATES = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now: starting up
  '57014', // query_canceled: our own limit
  '53300', // too_many_connections
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '55P03', // lock_not_available: our own limit
  '25006', // read_only_sql_transaction: the primary of a moment ago
  '25P03', // idle_in_transaction_session_timeout
]);

/** The transaction failed and the connection is as good as before. */
const TRANSACTION_STATES = new Set(['40001', '40P01', '55P03', '57014', '53300']);

const PASSING_ERRNO = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // no Unix socket: the server is not running
]);

/** What the driver says without a code (pg 8.23: lib/client.js, pg-pool). */
const PASSING_TEXT =
  /^(Connection terminated|timeout e|Query read timeout|Client (has encountered a connection error|was closed)|the database did not answer)/;

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function isState(code: string | undefined): code is string {
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && /\d/.test(code);
}

/** A prepared statement of before a migration: the same statement works on a new connection. */
function isStalePlan(error: unknown): boolean {
  return codeOf(error) === '0A000' && error instanceof Error && error.message.startsWith('cached plan');
}

/** Whether the same again may succeed. */
export function isPassing(error: unknown): boolean {
  const code = codeOf(error);
  if (isState(code)) return code.startsWith('08') || PASSING_STATES.has(code) || isStalePlan(error);
  if (code !== undefined && PASSING_ERRNO.has(code)) return true;
  // Several addresses of one name, each with its own failure.
  if (error instanceof AggregateError) return error.errors.some(isPassing);
  return error instanceof Error && PASSING_TEXT.test(error.message);
}

/** Whether two transactions were in each other's way; one of them alone may not be. */
export function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code === '40001' || code === '40P01' || code === '55P03';
}

/** Whether the connection is gone or of no more use, so that not even a rollback can be sent. */
export function isLost(error: unknown): boolean {
  return isPassing(error) && !TRANSACTION_STATES.has(codeOf(error) ?? '');
}

interface Plain {
  readonly code: DatabaseErrorCode;
  text(target: PostgresTarget): string;
}

const BY_STATE: Readonly<Record<string, Plain>> = {
  '28P01': { code: 'Refused', text: wrongPassword },
  '28000': {
    code: 'Refused',
    text: (target) =>
      `${target.describe()} takes no connection of user ${target.user} from here: look at its pg_hba.conf`,
  },
  '3D000': {
    code: 'Missing',
    text: (target) => `${target.describe()} does not exist: create it (createdb), or correct the Secret`,
  },
  '42501': {
    code: 'NotAllowed',
    text: (target) => `user ${target.user} may not do this in ${target.describe()}`,
  },
};

const TLS_CODES =
  /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|EPROTO|ERR_OSSL)/;

function wrongPassword(target: PostgresTarget): string {
  return `${target.describe()} does not know user ${target.user} with this password: correct the Secret`;
}

/** An error of a connection attempt as a line for a person; undefined: nothing that is known. */
export function explain(error: unknown, target: PostgresTarget): DatabaseError | undefined {
  const code = codeOf(error);
  const plain = code === undefined ? undefined : BY_STATE[code];
  if (plain !== undefined) return new DatabaseError(plain.code, plain.text(target), { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  if (message === 'The server does not support SSL connections')
    return new DatabaseError('Tls', `${target.describe()} does not speak TLS, which the manifest asks for`, {
      cause: error,
    });
  if (/client password must be a (non-empty )?string|password must be a/.test(message))
    return new DatabaseError('Refused', wrongPassword(target), { cause: error });
  if (code !== undefined && TLS_CODES.test(code)) {
    const remedy =
      target.tls.ca === undefined ? 'give its CA in tls.caSecretRef' : 'is the CA in tls.caSecretRef its own?';
    return new DatabaseError('Tls', `${target.describe()}: its certificate is not trusted (${message}); ${remedy}`, {
      cause: error,
    });
  }
  return undefined;
}

/** What a person reads of an error that passed too late: one line, never with a password. */
export function shortly(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(shortly).join('; ');
  return (error instanceof Error ? error.message : String(error)).replaceAll('\n', ' ');
}
