/** What can go wrong with a database for a reason that a person should hear. No text ever holds a password. */

/** The database does not answer, and did not for as long as was waited. It may come back by itself. */
export class DatabaseUnavailableError extends Error {
  override readonly name = 'DatabaseUnavailableError';
}

export type DatabaseErrorCode =
  /** Nobody answers at its address. */
  | 'Unreachable'
  /** It knows neither this user nor this password, or takes no connection from here. */
  | 'Refused'
  /** The server is there, the database or the schema is not. */
  | 'Missing'
  /** TLS is not spoken, or its certificate is not trusted. */
  | 'Tls'
  /** The user lacks a right. */
  | 'NotAllowed'
  /** The address or a Secret cannot be used. */
  | 'Invalid'
  /** Its file holds something else than it should. */
  | 'Damaged';

/** A database that a server cannot start with; the message is one line that says what to do. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly code: DatabaseErrorCode;
  constructor(code: DatabaseErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
