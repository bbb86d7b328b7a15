/**
 * The tables, one migration an entry, never changed once released. A schema change expands first and contracts a
 * release later, so that versions N and N+1 can run side by side.
 */
import type { Knex } from 'knex';
import type { Sql } from './sql.ts';

interface Migration {
  readonly name: string;
  up(knex: Knex): Promise<void>;
}

export const migrations: readonly Migration[] = [
  {
    name: '0001-core',
    async up(knex) {
      await knex.schema.createTable('meta', (table) => {
        table.text('key').primary();
        table.text('value').notNullable();
      });
      await knex.schema.createTable('storages', (table) => {
        table.text('name').primary();
        table.text('kind').notNullable();
        table.text('mode').notNullable();
        table.text('location').notNullable();
        // Folders of published objects older than this were compared with the rows: a start looks at newer ones only.
        table.text('settled').notNullable().defaultTo('');
      });
      await knex.schema.createTable('objects', (table) => {
        table.increments('id');
        // The public name; null once tombstoned.
        table.text('key').unique();
        table.text('storage').notNullable();
        table.text('name').notNullable();
        table.bigInteger('size').notNullable();
        table.text('state').notNullable();
        table.bigInteger('created_at').notNullable();
        // What was found in the bytes of a NAR; null for every other object.
        table.text('compression');
        table.text('file_hash');
        table.text('nar_hash');
        table.bigInteger('nar_size');
        // When a NAR was stored without a path; null once a path points at it.
        table.bigInteger('orphan_since');
        // With the size, so that what a storage holds is summed up without a look at a million rows.
        table.unique(['storage', 'name', 'size']);
      });
      // Tombstones are few; NARs without a path are looked for by age. Neither may need a scan of a million rows.
      await knex.raw(`CREATE INDEX objects_unfinished ON objects (state, created_at) WHERE state <> 'verified'`);
      await knex.raw('CREATE INDEX objects_orphan ON objects (orphan_since) WHERE orphan_since IS NOT NULL');
      await knex.schema.createTable('paths', (table) => {
        table.text('hash_part').primary();
        table.text('name').notNullable();
        table.integer('object_id').notNullable().references('objects.id').index();
        table.text('refs').notNullable();
        table.text('deriver');
        table.text('ca');
        table.text('signatures').notNullable();
        table.bigInteger('published_at').notNullable();
      });
      await knex.schema.createTable('uploads', (table) => {
        table.text('id').primary();
        table.text('upload_id').notNullable();
        table.text('compression').notNullable();
        table.text('storage').notNullable();
        table.text('state').notNullable();
        table.bigInteger('created_at').notNullable();
        table.bigInteger('expires_at').notNullable();
        table.text('hash_part');
      });
      await knex.schema.createTable('upload_parts', (table) => {
        table.text('upload').notNullable().references('uploads.id').onDelete('CASCADE');
        table.integer('number').notNullable();
        // Offset in the upload's file; null: the part lies in a file of its own until its offset is known.
        table.bigInteger('start');
        table.bigInteger('size').notNullable();
        table.text('md5').notNullable();
        table.primary(['upload', 'number']);
      });
      await knex.schema.createTable('registered_keys', (table) => {
        table.text('public_key').primary();
        table.bigInteger('registered_at').notNullable();
      });
    },
  },
  {
    name: '0002-many-storages',
    async up(knex) {
      await knex.schema.alterTable('objects', (table) => {
        // Bytes of a tombstoned object stay until then, for downloads that run; null: they go at once.
        table.bigInteger('delete_after');
      });
      await knex.schema.alterTable('uploads', (table) => {
        // Where an S3 storage puts the bytes, and its own id of the multipart upload.
        table.text('name');
        table.text('remote_id');
        // Why it was aborted, as JSON of code and message: another server may be asked for the outcome.
        table.text('failure');
      });
      // Finished uploads are kept a day, open ones are few.
      await knex.raw(`CREATE INDEX uploads_open ON uploads (expires_at) WHERE state = 'open'`);
      await knex.raw(`CREATE INDEX uploads_over ON uploads (created_at) WHERE state <> 'open'`);
      await knex.schema.alterTable('upload_parts', (table) => {
        // ETag of a part that S3 has; null: the part lies in a file or object of its own.
        table.text('etag');
      });
      // Bytes that may lie in a storage without a row of `objects`: being written until then, to be removed afterwards.
      await knex.schema.createTable('intents', (table) => {
        table.text('storage').notNullable();
        table.text('name').notNullable();
        table.bigInteger('expires_at').notNullable().index();
        table.primary(['storage', 'name']);
      });
      // Work that only one server may do at a time; used where servers share a database.
      await knex.schema.createTable('leases', (table) => {
        table.text('name').primary();
        table.text('owner').notNullable();
        table.bigInteger('expires_at').notNullable();
      });
    },
  },
  {
    name: '0003-part-attempts',
    async up(knex) {
      await knex.schema.alterTable('upload_parts', (table) => {
        // Where the attempt that brought the part in has put it, where a part lies in an object of its own.
        table.text('name');
      });
      await knex.raw('CREATE INDEX upload_parts_named ON upload_parts (name) WHERE name IS NOT NULL');
    },
  },
  {
    name: '0004-lost-objects',
    async up(knex) {
      await knex.schema.alterTable('objects', (table) => {
        // Of the state `lost`: since when its bytes are known to be gone or wrong, and in what way.
        table.bigInteger('lost_since');
        table.text('loss');
      });
      await knex.raw(`CREATE INDEX objects_lost ON objects (storage, id) WHERE state = 'lost'`);
      // How far the look at all objects is, for each depth of it: a restart and another server go on from there.
      await knex.schema.createTable('scrubs', (table) => {
        table.text('depth').primary();
        table.bigInteger('begun_at').notNullable();
        // Null: it is under way.
        table.bigInteger('ended_at');
        // The last object that was looked at.
        table.integer('position').notNullable();
        table.bigInteger('objects').notNullable();
        table.bigInteger('bytes').notNullable();
        table.bigInteger('lost').notNullable();
      });
    },
  },
  {
    name: '0005-pins',
    async up(knex) {
      // One row a name: whoever changes what is pinned under it locks this row first.
      await knex.schema.createTable('pins', (table) => {
        table.text('name').primary();
        // The number of the newest revision.
        table.integer('revision').notNullable();
      });
      await knex.schema.createTable('pin_revisions', (table) => {
        table.text('name').notNullable().references('pins.name').onDelete('CASCADE');
        table.integer('revision').notNullable();
        // No reference to a path: what a manifest pins may be pushed later.
        table.text('hash_part').notNullable().index();
        table.text('path_name').notNullable();
        // A JSON array of files inside the path.
        table.text('artifacts').notNullable();
        // Null: nobody has said; else Days, Revisions or Forever, and how many.
        table.text('keep');
        table.integer('keep_count');
        table.bigInteger('created_at').notNullable();
        // Name of the token; null: the manifest, or somebody at the machine.
        table.text('token');
        table.text('origin').notNullable();
        table.primary(['name', 'revision']);
      });
    },
  },
  {
    name: '0006-closures',
    async up(knex) {
      await knex.schema.alterTable('paths', (table) => {
        // 1: what it waits for has rows. Null: a version has published it that knew nothing of that.
        table.integer('closure_checked');
      });
      await knex.raw('CREATE INDEX paths_unchecked ON paths (hash_part) WHERE closure_checked IS NULL');
      // What a published path refers to and readers cannot get here. A path without such rows is servable.
      await knex.schema.createTable('waiting', (table) => {
        table.text('missing').notNullable();
        table.text('path').notNullable().references('paths.hash_part').onDelete('CASCADE').index();
        table.bigInteger('since').notNullable().index();
        table.primary(['missing', 'path']);
      });
      // Paths that readers cannot get any more, until all that refer to them wait.
      await knex.schema.createTable('closing', (table) => {
        table.text('hash_part').primary();
        // By which look at all references; 0: none yet.
        table.bigInteger('taken').notNullable();
      });
    },
  },
  {
    name: '0007-uses',
    async up(knex) {
      // When a path was last used, to the hour. No foreign key: each row that comes would lock one of `paths`. Those of
      // paths that are gone are removed now and then.
      await knex.schema.createTable('uses', (table) => {
        table.text('hash_part').primary();
        table.bigInteger('used_at').notNullable();
      });
      // Nobody has written down what was used before: an upgrade must not make a cache look unused.
      await knex('meta')
        .insert({ key: 'uses_since', value: String(Date.now()) })
        .onConflict('key')
        .ignore();
    },
  },
  {
    name: '0008-retention',
    async up(knex) {
      await knex.schema.alterTable('paths', (table) => {
        // The last collection that was told, while it was under way, that something new needs the path.
        table.bigInteger('needed').notNullable().defaultTo(0);
      });
      // One row: the number of the last collection, and whether it is under way.
      await knex.schema.createTable('collection', (table) => {
        table.integer('id').primary();
        table.bigInteger('run').notNullable();
        table.integer('is_active').notNullable();
      });
      await knex.raw('INSERT INTO collection (id, run, is_active) VALUES (1, 0, 0)');
      // Each collection: by schedule, or because somebody asked.
      await knex.schema.createTable('collections', (table) => {
        table.bigInteger('run').primary();
        table.bigInteger('begun_at').notNullable();
        // Null: it is under way, or waits for somebody to confirm it.
        table.bigInteger('ended_at');
        // `running`, `held`, `done` or `failed`.
        table.text('state').notNullable();
        // Why it is held, or has failed.
        table.text('text');
        table.integer('paths').notNullable();
        table.bigInteger('bytes').notNullable();
        table.integer('removed_paths').notNullable();
        table.bigInteger('removed_bytes').notNullable();
      });
      // Unpublished paths whose bytes stay for a while: whoever holds the narinfo gets the NAR, and who needs one brings it back.
      await knex.schema.createTable('retired', (table) => {
        table.text('hash_part').primary();
        table.text('name').notNullable();
        table.integer('object_id').notNullable().references('objects.id').onDelete('CASCADE').index();
        table.text('refs').notNullable();
        table.text('deriver');
        table.text('ca');
        table.text('signatures').notNullable();
        table.bigInteger('published_at').notNullable();
        table.bigInteger('used_at').notNullable();
        table.bigInteger('retired_at').notNullable().index();
        // `unused`, `maxSize` or `deleted`.
        table.text('reason').notNullable();
        // Name of the token of who deleted it.
        table.text('actor');
      });
      // Paths that a collection is about to take, in the order in which they go; a server that dies goes on here.
      await knex.schema.createTable('doomed', (table) => {
        table.integer('turn').primary();
        table.text('hash_part').notNullable();
        table.text('reason').notNullable();
      });
    },
  },
  {
    name: '0009-deletion',
    async up(knex) {
      // What nobody may push any more: the path of that hash part, and every path with that NAR.
      await knex.schema.createTable('blocked', (table) => {
        table.text('hash_part').primary();
        // Null where it was never here.
        table.text('name');
        table.text('nar_hash').index();
        table.text('reason').notNullable();
        table.bigInteger('blocked_at').notNullable();
        // Name of the token of who asked; null: somebody at the machine.
        table.text('actor');
      });
      // Why paths are gone whose bytes are gone too; the oldest are forgotten.
      await knex.schema.createTable('removed', (table) => {
        table.text('hash_part').primary();
        table.text('name').notNullable();
        table.bigInteger('removed_at').notNullable().index();
        table.text('reason').notNullable();
        table.bigInteger('used_at').notNullable();
        table.text('actor');
      });
    },
  },
  {
    name: '0010-listing',
    async up(knex) {
      // Lists of all paths by name and by age, page by page. Names are compared byte by byte, whatever the locale: else no
      // index finds what a name begins with.
      const bytewise = isPostgres(knex) ? ' COLLATE "C"' : '';
      await knex.raw(`CREATE INDEX paths_name ON paths (name${bytewise}, hash_part)`);
      await knex.raw('CREATE INDEX paths_published ON paths (published_at, hash_part)');
    },
  },
];

function isPostgres(knex: Knex): boolean {
  return knex.client.config.client === 'pg';
}

/** The database was changed by a version of Narwhal that this one is too old for. */
export class NewerDatabaseError extends Error {
  override readonly name = 'NewerDatabaseError';
}

/**
 * Whether the schema is what this version needs. A later version may have added to it: that is fine until it says, by
 * `min_server` in the table `meta`, that it has taken something away.
 * @param tables which of `knex_migrations` and `meta` there are
 * @param version of this server
 * @throws NewerDatabaseError
 */
export async function schemaState(
  sql: Pick<Sql, 'query'>,
  tables: ReadonlySet<string>,
  version: string,
): Promise<'outdated' | 'ready'> {
  if (tables.has('meta')) {
    const [row] = await sql.query<{ value: string }>(`SELECT value FROM meta WHERE key = 'min_server'`);
    if (row !== undefined && isOlder(version, row.value))
      throw new NewerDatabaseError(
        `the database needs narwhal-server ${row.value} or later, and this is ${version}: run that version, ` +
          'or bring back a backup of the database of before the upgrade',
      );
  }
  if (!tables.has('knex_migrations')) return 'outdated';
  const applied = new Set(
    (await sql.query<{ name: string }>('SELECT name FROM knex_migrations')).map((row) => row.name),
  );
  return migrations.every((migration) => applied.has(migration.name)) ? 'ready' : 'outdated';
}

/** Compares versions by their three numbers; what is no version is older than any. */
function isOlder(version: string, than: string): boolean {
  const numbers = (text: string) => /^(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number) ?? [-1, 0, 0];
  const [a, b] = [numbers(version), numbers(than)];
  for (const [index, number] of a.entries()) {
    const other = b[index] ?? 0;
    if (number !== other) return number < other;
  }
  return false;
}
