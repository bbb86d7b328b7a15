/** The program around its commands: what is common to all of them, and how errors end it. */
import { Command } from 'commander';
import { version } from './version.ts';

export function createProgram(): Command {
  return new Command('narwhal-server')
    .description('A Nix binary cache that unmodified nix and cachix clients push to and pull from.')
    .version(version)
    .showHelpAfterError('(narwhal-server --help lists what there is)');
}

/** Runs one command and sets the exit code. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    // What a person can mend is one line; the rest is our fault and comes with its stack.
    console.error(isExpected(error) ? `narwhal-server: ${error.message}${hint(error)}` : error);
    process.exitCode = 1;
  }
}

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
]);

/** Errors of the operating system have messages for people too. */
function isExpected(error: unknown): error is Error {
  return error instanceof Error && (EXPECTED.has(error.name) || 'syscall' in error);
}

/** What to do about an error of the operating system, where that is not plain. */
function hint(error: Error): string {
  return 'code' in error && error.code === 'EADDRINUSE' ? '; choose another with --listen or --admin-listen' : '';
}
