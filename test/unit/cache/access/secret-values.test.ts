import assert from 'node:assert/strict';
import { rootCertificates } from 'node:tls';
import { inspect } from 'node:util';
import { generateToken, loadManifests, SecretError } from '../../../../crds/index.ts';
import { naming } from '../../../../server/cache/naming.ts';
import { type ResolvedCache, resolveCache } from '../../../../server/cache/resolve.ts';
import { DatabaseError } from '../../../../server/metadata/index.ts';
import { generateSecretKey } from '../../../../server/nix/index.ts';

type Values = Readonly<Record<string, string | Buffer>>;

const CERTIFICATE = rootCertificates[0] ?? '';
const KEYS = {
  rootSecretRef: { name: 'sound', key: 'root' },
  signing: { secretRefs: [{ name: 'sound', key: 'key' }] },
};
const SOUND: Values = {
  root: Buffer.alloc(32, 7).toString('base64'),
  key: generateSecretKey('sound-1'),
  uri: 'postgresql://user:password@db/cache',
};

/** A use of one Secret `mine`: what the cache's spec says, sound values, and what of the plan comes out of them. */
interface Use {
  readonly spec: object;
  readonly values: Readonly<Record<string, string>>;
  readonly read: (plan: ResolvedCache) => unknown;
  /** Keys that may hold what another use could not. */
  readonly free?: readonly string[];
}

const onPostgres = (postgres: object): object => ({ ...KEYS, database: { postgres } });

const USES: Readonly<Record<string, Use>> = {
  'a root key': {
    spec: { rootSecretRef: { name: 'mine', key: 'k' } },
    values: { k: Buffer.alloc(32, 3).toString('base64') },
    read: (plan) => plan.rootSecret,
  },
  'a signing key': {
    spec: { signing: { secretRefs: [{ name: 'mine', key: 'k' }] } },
    values: { k: generateSecretKey('mine-1') },
    read: (plan) => plan.signing,
  },
  'a token': {
    spec: { tokens: [{ name: 'ci', permissions: ['Write'], secretRef: { name: 'mine', key: 'k' } }] },
    values: { k: generateToken() },
    read: (plan) => plan.tokens,
  },
  'credentials of a bucket': {
    spec: { storages: [{ name: 'b', s3: { bucket: 'nix', credentialsSecretRef: { name: 'mine' } } }] },
    values: { accessKeyId: 'AKIAMINE', secretAccessKey: 'abc/def+123', sessionToken: 'session' },
    read: (plan) => plan.storages.map(({ at }) => at),
    free: ['accessKeyId', 'secretAccessKey', 'sessionToken'],
  },
  'the URL of a database': {
    spec: onPostgres({ secretRef: { name: 'mine', key: 'k' } }),
    values: { k: 'postgresql://me:hidden@db.example.org:6000/cache' },
    read: targetOf,
  },
  'the fields of a database': {
    spec: onPostgres({ secretRef: { name: 'mine' } }),
    values: { host: 'db', port: '6000', user: 'me', password: 'pass word', dbname: 'cache' },
    read: targetOf,
    free: ['host', 'user', 'password', 'dbname'],
  },
  'the CA of a database': {
    spec: onPostgres({
      secretRef: { name: 'sound' },
      tls: { mode: 'VerifyFull', caSecretRef: { name: 'mine', key: 'k' } },
    }),
    values: { k: CERTIFICATE },
    read: targetOf,
  },
};

function targetOf({ database }: ResolvedCache): unknown {
  assert.equal(database.kind, 'postgres');
  return database.kind === 'postgres' && [{ ...database.target }, database.target.password];
}

/** The plan of a cache `main` whose Secret `mine` has these values. */
function planOf({ spec }: Use, values: Values): Promise<ResolvedCache> {
  const secret = (name: string, data: Values) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
  });
  const cache = {
    apiVersion: 'narwhal.dev/v1alpha1',
    kind: 'BinaryCache',
    metadata: { name: 'main' },
    spec: { storages: [{ name: 'disk', local: {} }], ...spec },
  };
  const text = [cache, secret('mine', values), secret('sound', SOUND)].map((it) => JSON.stringify(it)).join('\n---\n');
  const { documents, errors } = loadManifests([{ file: 'm.yaml', text }], { target: 'server' });
  assert.deepEqual(errors, []);
  const [manifest] = documents.binaryCaches;
  assert.ok(manifest !== undefined);
  return naming('main', () => resolveCache(manifest, documents, { folder: '/data/main', volumes: undefined }));
}

/** What a value becomes by a slip of the hand. */
const DAMAGE: Readonly<Record<string, (value: string) => string | Buffer>> = {
  'is empty': () => '',
  'holds only a line break': () => '\r\n',
  'is cut in half': (value) => value.slice(0, value.length / 2),
  'is no text': () => Buffer.from([0x80, 0xff, 0, 1, 2, 3, 0xfe]),
};

describe('a value of a Secret', () => {
  for (const [what, use] of Object.entries(USES)) {
    it(`is read without the white space around it: ${what}`, async () => {
      const bare = await planOf(use, use.values);
      for (const around of [(it: string) => `${it}\n`, (it: string) => `${it}\r\n`, (it: string) => ` \t${it} \n\n`]) {
        const values = Object.fromEntries(Object.entries(use.values).map(([key, value]) => [key, around(value)]));
        assert.deepEqual(use.read(await planOf(use, values)), use.read(bare));
      }
    });

    for (const [key, value] of Object.entries(use.values))
      for (const [how, damage] of Object.entries(DAMAGE)) {
        // Half of such a word is a word, and who is right only the service can tell.
        if (how === 'is cut in half' && use.free?.includes(key)) continue;
        if (how === 'is cut in half' && key === 'port') continue;
        it(`that ${how} is refused in one line with cache, Secret and key, and is not repeated: ${key} of ${what}`, async () => {
          const damaged = damage(value);
          await assert.rejects(planOf(use, { ...use.values, [key]: damaged }), (error: Error) => {
            assert.ok(error instanceof SecretError || error instanceof DatabaseError, error.stack);
            assert.match(error.message, /^cache main: Secret "mine": [ -~]+$/);
            // A URL of a database is told by what is wrong in it.
            if (how !== 'is cut in half' || what !== 'the URL of a database')
              assert.match(error.message, new RegExp(`key "${key}" .*; correct the Secret$`));
            const hidden = String(damaged).trim();
            if (hidden.length > 3) assert.ok(!inspect(error).includes(hidden), inspect(error));
            return true;
          });
        });
      }
  }
});
