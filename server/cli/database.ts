/** Commands for databases: bring them up to date, move one to PostgreSQL. */
import { Command } from 'commander';
import { runCopyDatabase } from './copy-database.ts';
import { databaseWaitOption, dataOption, fileOption, secretsOption, umaskOption } from './flags.ts';
import { runMigrate } from './migrate.ts';

interface Flags {
  file: string[];
  data: string;
  secrets?: string;
  databaseWait: number;
  cache?: string;
}

export function migrateCommand(env: NodeJS.ProcessEnv): Command {
  return new Command('migrate')
    .description('bring the databases of the manifests up to date, as a server does when it starts')
    .addOption(fileOption())
    .addOption(dataOption(env))
    .addOption(umaskOption())
    .addOption(secretsOption())
    .addOption(databaseWaitOption())
    .option('--cache <name>', 'only this cache')
    .action(async (flags: Flags) => {
      await runMigrate({ ...flags, secrets: flags.secrets, files: flags.file, waitMs: flags.databaseWait * 1000 });
    });
}

export function copyDatabaseCommand(env: NodeJS.ProcessEnv): Command {
  return new Command('copy-database')
    .description('copy the SQLite file of a stopped cache into the PostgreSQL of its manifest; run again, it goes on')
    .addOption(fileOption())
    .addOption(dataOption(env))
    .addOption(umaskOption())
    .addOption(secretsOption())
    .addOption(databaseWaitOption())
    .option('--cache <name>', 'the cache, where the manifests have several')
    .action(async (flags: Flags) => {
      const terminal = process.stderr.isTTY === true;
      await runCopyDatabase({
        ...flags,
        secrets: flags.secrets,
        files: flags.file,
        waitMs: flags.databaseWait * 1000,
        terminal,
      });
    });
}
