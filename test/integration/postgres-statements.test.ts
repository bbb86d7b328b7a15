/** What a push costs where each statement may cross a network: every one of them, by trips and commits. */
import assert from 'node:assert/strict';
import { Fleet } from '../support/fleet.ts';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { type Push, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Secret } from '../support/s3-cache.ts';
import { StatementLog } from '../support/statement-log.ts';

const BUCKET = 'narwhal';
/** What no push asks for: looks at the connection, counts, the renewal of a lease, settings of a new connection. */
const BY_THE_CLOCK = ['SELECT 1', 'SELECT count(*)', 'SELECT (SELECT count(*)', 'UPDATE leases', 'SET'];

/** A path with its NAR; what it refers to is here. */
const PUBLISHED = ['INSERT objects', 'INSERT paths', 'INSERT waiting'];
/** An upload with its parts and its lease. */
const ENDED = ['UPDATE uploads', 'INSERT intents', 'DELETE upload_parts', 'DELETE leases'];

/** Each trip as the statements that go together. */
const PUSHES: readonly [what: string, push: Push, uploads: string, trips: readonly string[][]][] = [
  [
    'by cachix, straight to S3',
    pushByCachix,
    'Direct',
    [
      // The upload.
      ['INSERT uploads'],
      // Where its part goes.
      ['SELECT uploads'],
      // `complete`, and the look at closures after its commit.
      ['INSERT leases', 'SELECT uploads'],
      [...PUBLISHED, ...ENDED],
      ['SELECT waiting'],
    ],
  ],
  [
    'by cachix, through the server',
    pushByCachix,
    'Proxy',
    [
      ['INSERT uploads'],
      ['SELECT uploads'],
      // The part, of which the name is noted before its bytes are sent.
      ['SELECT uploads'],
      ['INSERT intents'],
      ['UPDATE uploads', 'INSERT upload_parts', 'DELETE intents', 'SELECT uploads'],
      ['INSERT leases', 'SELECT uploads'],
      [...PUBLISHED, ...ENDED],
      ['SELECT waiting'],
    ],
  ],
  [
    'by nix',
    pushByPut,
    'Direct',
    [
      // The NAR.
      ['SELECT objects'],
      ['INSERT intents'],
      ['INSERT objects', 'DELETE intents'],
      // The narinfo.
      ['SELECT paths'],
      ['UPDATE objects', 'INSERT paths', 'INSERT waiting'],
      ['SELECT waiting'],
    ],
  ],
];

describeWith('postgres', 'the statements of a push to PostgreSQL and S3', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let log: StatementLog;
  before(async () => {
    // Nothing but the push may take a transaction id.
    [postgres, s3] = await Promise.all([PostgresServer.start({ settings: { autovacuum: 'off' } }), S3Server.start()]);
    await s3.createBucket(BUCKET);
    log = await StatementLog.start(postgres.host, postgres.port);
  });
  after(async () => {
    await log.close();
    await postgres.remove();
    await s3.remove();
  });

  /** The trips of one push by a server that has pushed before; how many have committed, and transaction ids that were taken. */
  async function tripsOf(push: Push, uploads: string): Promise<{ trips: string[][]; commits: number; ids: number }> {
    const fields = {
      bucket: BUCKET,
      endpoint: s3.endpoint,
      prefix: `${push.name}-${uploads}`,
      forcePathStyle: true,
      credentialsSecretRef: { name: 's3' },
      uploads,
    };
    const url = log.through(await postgres.createDatabase());
    const storages = [{ name: 'bucket', s3: fields }];
    const fleet = await Fleet.start({ url, storages, more: s3Secret(s3), servers: 1 });
    try {
      const before = makePath();
      await push(fleet.at(0), before);
      const references = [`${before.hashPart}-${before.name}`];
      const first = await nextId();
      log.reset();
      await push(fleet.at(0), makePath({ references }));
      // A stop waits for what goes on in the background.
      await fleet.at(0).stop();
      const others = log.trips.filter(({ statements: [text = ''] }) => BY_THE_CLOCK.some((it) => text.startsWith(it)));
      const trips = log.trips.filter((it) => it.statements.length > 0 && !others.includes(it));
      return {
        trips: trips.map(({ statements }) => statements.map(shortly)),
        commits: trips.filter((it) => it.isCommit).length,
        ids: (await nextId()) - first - others.filter((it) => it.isCommit).length,
      };
    } finally {
      await fleet.remove();
    }
  }

  /** Each transaction that changes something takes one. */
  async function nextId(): Promise<number> {
    const [row] = await postgres.query<{ id: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS id');
    return Number(row?.id);
  }

  for (const [what, push, uploads, trips] of PUSHES) {
    const statements = trips.flat().length;
    // What writes is a commit, and takes a transaction id.
    const commits = trips.filter((trip) => trip.some((it) => !it.startsWith('SELECT'))).length;
    it(`${what}: ${statements} statements in ${trips.length} trips, ${commits} of which commit`, async () => {
      assert.deepEqual(await tripsOf(push, uploads), { trips, commits, ids: commits });
    });
  }
});

/** The verb, and the table that is written, or is read outside of subqueries. */
function shortly(text: string): string {
  const [verb = ''] = text.split(' ');
  const table = /^(?:INSERT INTO|UPDATE|DELETE FROM|.* FROM) (\w+)/.exec(text)?.[1];
  return `${verb} ${table}`;
}
