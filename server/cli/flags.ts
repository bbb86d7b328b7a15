/** Flags that several commands share. */
import { Option } from 'commander';
import { defaultSettings } from '../cache/index.ts';
import { defaultDataFolder } from '../options.ts';
import { list, seconds, umask } from './values.ts';

/** Nobody but the server's own user. */
export const PRIVATE_UMASK = 0o077;

export function fileOption(): Option {
  return new Option('-f, --file <path...>', 'manifest file, or folder of manifests; repeatable, required')
    .env('NARWHAL_FILE')
    .argParser(list)
    .makeOptionMandatory();
}

export function dataOption(env: NodeJS.ProcessEnv): Option {
  return new Option('--data <folder>', 'where caches keep database, keys and local storages')
    .env('NARWHAL_DATA')
    .default(defaultDataFolder(env));
}

/** Of Secrets as Kubernetes mounts them. */
export function secretsOption(): Option {
  return new Option(
    '--secrets <folder>',
    'a folder with one for each Secret, in it a file for each key; asked for Secrets that no manifest has',
  ).env('NARWHAL_SECRETS');
}

export function storagesOption(): Option {
  return new Option(
    '--storages <folder>',
    'where a volume is mounted for each local storage without a path, under its name; no folder of a storage is made',
  ).env('NARWHAL_STORAGES');
}

/** What others may not do with the files and folders that this process makes. */
export function umaskOption(): Option {
  return new Option(
    '--umask <mask>',
    'octal digits of what others may not do with new files and folders of storages; keys and tokens stay closed',
  )
    .env('NARWHAL_UMASK')
    .argParser(umask)
    .default(PRIVATE_UMASK, '077');
}

/** How long a database is waited for, and a statement in it. */
export function databaseWaitOption(): Option {
  return seconds(
    '--database-wait <seconds>',
    'for a PostgreSQL server that cannot be reached at the start',
    'NARWHAL_DATABASE_WAIT',
    defaultSettings.databaseWaitMs / 1000,
  );
}
