/** The program around its commands: what is common to all of them, and how errors end it. */
import { Command } from 'commander';
import { explained } from '../explain.ts';
import { version } from '../version.ts';

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
    const line = explained(error);
    console.error(line === undefined ? error : `narwhal-server: ${line}`);
    process.exitCode = 1;
  }
}
