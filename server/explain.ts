/** From an error to the one line that a person reads, with what to do where the operating system does not say it. */

/** By their names, so that a small command need not load what defines them. */
const EXPECTED: ReadonlySet<string> = new Set([
  'AddressError',
  'CacheError',
  'ConfigurationError',
  'ConvertError',
  'DatabaseError',
  'FolderLockedError',
  'FormatError',
  'NewerDatabaseError',
  'OptionError',
  'QuantityError',
  'SecretError',
  'StorageUnavailableError',
  'TlsFilesError',
]);

/** What a person does about an error of the operating system. */
const REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'choose another with --listen or --admin-listen',
  EACCES: `the user of this process${user()} must own it, or be allowed to use it`,
  EPERM: `the user of this process${user()} must own it, or be allowed to use it`,
  EEXIST: 'a file is where a folder should be: move it away',
  ENOTDIR: 'a file is where a folder should be: move it away',
  EISDIR: 'a folder is where a file should be: move it away',
  ERR_FS_EISDIR: 'a folder is where a file should be: move it away',
  EROFS: 'its disk is mounted read-only',
  ENOSPC: 'its disk is full',
};

function user(): string {
  const uid = process.getuid?.();
  return uid === undefined ? '' : ` (uid ${uid})`;
}

/** The line; undefined for what nobody expected, which is our fault and comes with its stack. */
export function explained(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const isOfSystem = 'syscall' in error || ('code' in error && error.code === 'ERR_FS_EISDIR');
  if (!EXPECTED.has(error.name) && !isOfSystem) return undefined;
  const remedy = isOfSystem && 'code' in error ? REMEDIES[String(error.code)] : undefined;
  return `${error.message}${remedy === undefined ? '' : `; ${remedy}`}`;
}
