/** `narwhal-server migrate`: brings the databases of the manifests up to date and says what it did. */
import { migrateDatabase } from '../cache/index.ts';
import { createLogger } from '../log.ts';
import { readConfiguration } from '../manifests.ts';
import { OptionError } from '../options.ts';
import { load } from '../serve.ts';
import { version } from '../version.ts';

export interface MigrateOptions {
  readonly files: readonly string[];
  readonly data: string;
  readonly secrets: string | undefined;
  readonly cache?: string;
  readonly waitMs: number;
}

export async function runMigrate({ files, data, secrets, cache, waitMs }: MigrateOptions): Promise<void> {
  const logger = createLogger('warn', process.stderr.isTTY === true);
  const documents = load(await readConfiguration({ files, secrets }), logger);
  const chosen = documents.binaryCaches.filter(({ metadata }) => cache === undefined || metadata.name === cache);
  if (chosen.length === 0) throw new OptionError(`--cache ${cache}: no such BinaryCache in the manifests`);
  for (const manifest of chosen) {
    const { database, applied } = await migrateDatabase({ manifest, documents, data, version, logger, waitMs });
    const what = applied.length === 0 ? 'is up to date' : `migrated: ${applied.join(', ')}`;
    console.log(`${manifest.metadata.name}: ${database} ${what}`);
  }
}
