/** The command line: the program and its small commands. */
import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { generateToken, hashToken } from '../../crds/index.ts';
import { convertSeedConfig } from '../convert/index.ts';
import { ConfigurationError } from '../serve.ts';
import { armCrashPoint } from '../storage/index.ts';
import { runCheck } from './check.ts';
import { copyDatabaseCommand, migrateCommand } from './database.ts';
import { dataOption, fileOption, PRIVATE_UMASK, secretsOption, storagesOption, umaskOption } from './flags.ts';
import { gatewayCommand } from './gateway.ts';
import { gcCommand } from './gc.ts';
import { moveCommand } from './move.ts';
import { blockCommand, deleteCommand, explainCommand } from './path.ts';
import { pinCommand } from './pin.ts';
import { createProgram, runProgram } from './program.ts';
import { serveCommand } from './serve.ts';
import { size } from './values.ts';

type Environment = NodeJS.ProcessEnv;

/** Runs one command and sets the exit code. */
export async function run(argv: readonly string[], env: Environment): Promise<void> {
  const program = createProgram();
  program.addCommand(serveCommand(env), { isDefault: true });
  program.addCommand(gatewayCommand());
  program.addCommand(checkCommand(env));
  program.addCommand(migrateCommand(env));
  program.addCommand(copyDatabaseCommand(env));
  program.addCommand(moveCommand(env));
  program.addCommand(gcCommand(env));
  program.addCommand(pinCommand(env));
  program.addCommand(explainCommand(env));
  program.addCommand(deleteCommand(env));
  program.addCommand(blockCommand(env));
  program.addCommand(convertCommand());
  program.addCommand(hashTokenCommand());
  const words = ['help', ...program.commands.map((command) => command.name())];
  const [, , word = '-'] = argv;
  // The default command would take a misspelt one for a missing -f.
  if (!word.startsWith('-') && !words.includes(word)) program.error(`error: unknown command '${word}'`);
  program.hook('preAction', (_, command) => {
    // For all that this process makes, by whatever library: what lies in a storage is nobody else's business.
    process.umask(command.getOptionValue('umask') ?? PRIVATE_UMASK);
    armCrashPoint(env.NARWHAL_CRASH_AT);
  });
  await runProgram(program, argv);
}

interface CheckFlags {
  file: string[];
  data: string;
  secrets?: string;
  storages?: string;
  cache?: string;
  contents: boolean;
  rate?: number;
  repair: boolean;
}

function checkCommand(env: Environment): Command {
  return new Command('check')
    .description('compare every row with its bytes and every file with its row; a server that runs is asked to do it')
    .addOption(fileOption())
    .addOption(dataOption(env))
    .addOption(umaskOption())
    .addOption(secretsOption())
    .addOption(storagesOption())
    .option('--cache <name>', 'only this cache')
    .option('--contents', 'read every NAR and compare its hash too', false)
    .addOption(new Option('--rate <size>', 'bytes per second that --contents reads').argParser(size))
    .option(
      '--repair',
      'unpublish what has no bytes, serve again what was lost and is there, remove files without rows',
      false,
    )
    .action(async (flags: CheckFlags) => {
      const terminal = process.stderr.isTTY === true;
      const { file: files, secrets, storages, cache, rate: bytesPerSecond } = flags;
      const clean = await runCheck({ ...flags, files, secrets, storages, cache, bytesPerSecond, terminal });
      if (!clean) process.exitCode = 1;
    });
}

function convertCommand(): Command {
  return new Command('convert')
    .description(
      "print manifests for a config.yaml of cache-server, Narwhal's predecessor; warnings go to standard error",
    )
    .argument('<config.yaml>')
    .action(async (file: string) => {
      const { yaml, warnings } = convertSeedConfig(await readFile(file, 'utf8'));
      for (const warning of warnings) console.error(`warning: ${warning}`);
      process.stdout.write(yaml);
    });
}

function hashTokenCommand(): Command {
  return new Command('hash-token')
    .description('print the SHA-256 that tokens[].sha256 takes, of a token on standard input')
    .option('--generate', 'make a new token: its text on the first line, its hash on the second', false)
    .action(async ({ generate }: { generate: boolean }) => {
      if (generate) {
        const token = generateToken();
        process.stdout.write(`${token}\n${hashToken(token)}\n`);
        return;
      }
      let text = '';
      for await (const piece of process.stdin.setEncoding('utf8')) text += piece;
      // Never as an argument: arguments are visible to every user of the machine.
      if (text.trim() === '')
        throw new ConfigurationError('give the token on standard input: narwhal-server hash-token < FILE');
      process.stdout.write(`${hashToken(text.trim())}\n`);
    });
}
