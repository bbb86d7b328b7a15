import assert from 'node:assert/strict';
import type { PeerCertificate } from 'node:tls';
import { inspect } from 'node:util';
import { DatabaseError, readTarget } from '../../../server/metadata/index.ts';
import { tlsOptions } from '../../../server/metadata/postgres/connection.ts';
import { type PostgresTarget, parseTarget } from '../../../server/metadata/postgres/target.ts';

const plain = ({ host, port, user, password, database, tls }: PostgresTarget) => [
  host,
  port,
  user,
  password,
  database,
  tls.mode,
];

describe('the URL of a database', () => {
  const urls: readonly [url: string, ...expected: (string | number)[]][] = [
    ['postgresql://u:p@h/d', 'h', 5432, 'u', 'p', 'd', 'Disable'],
    ['postgres://u:p@h:6000/d?sslmode=verify-full', 'h', 6000, 'u', 'p', 'd', 'VerifyFull'],
    ['postgres://u:p@h/d?sslmode=require&connect_timeout=3', 'h', 5432, 'u', 'p', 'd', 'Require'],
    ['postgres://a%40b:p%2F%3A@[::1]/d%20e', '::1', 5432, 'a@b', 'p/:', 'd e', 'Disable'],
    ['postgres://u@localhost/d?host=/run/postgresql', '/run/postgresql', 5432, 'u', '', 'd', 'Disable'],
  ];
  for (const [url, ...expected] of urls)
    it(`is read: ${url}`, () => assert.deepEqual(plain(parseTarget(url, undefined)), expected));

  const wrong: readonly [url: string, message: RegExp][] = [
    ['not a url secretpw', /URL of the database is not valid: expected postgresql/],
    ['mysql://u:secretpw@h/d', /expected postgresql/],
    ['postgres://u:secretpw@h', /incomplete/],
    ['postgres://h/d', /incomplete/],
    ['postgres://u:secretpw@a,b/d', /several hosts/],
    ['postgres://u:secretpw@a:1,b:2/d', /not valid/],
    ['postgres://u:secretpw@h/d?sslmode=prefer', /sslmode .* must be one of disable, require/],
    ['postgres://u:secretpw@h/d?sslrootcert=/x', /parameter sslrootcert.*database\.postgres\.tls/],
    ['postgres://u:secretpw@h/d?target_session_attrs=any', /parameter target_session_attrs/],
    ['postgres://u:secretpw%@h/d', /%25/],
  ];
  for (const [url, message] of wrong)
    it(`is refused without its password: ${url}`, () =>
      assert.throws(
        () => parseTarget(url, undefined),
        (error: Error) => {
          assert.ok(error instanceof DatabaseError);
          assert.match(error.message, message);
          assert.ok(!inspect(error).includes('secretpw'), inspect(error));
          return true;
        },
      ));

  it('is overruled by the TLS of the manifest', () => {
    const target = parseTarget('postgres://u:p@h/d?sslmode=disable', { mode: 'VerifyFull', ca: 'CA' });
    assert.deepEqual(target.tls, { mode: 'VerifyFull', ca: 'CA' });
  });

  it('shows its password to nobody who prints it', () => {
    const target = parseTarget('postgres://u:secretpw@h/d', undefined);
    assert.ok(!`${inspect(target)}${JSON.stringify(target)}${target.describe()}`.includes('secretpw'));
  });

  it('is the same with another password, and another with anything else', () => {
    const same = (a: string, b: string) => parseTarget(a, undefined).isSameAs(parseTarget(b, undefined));
    assert.ok(same('postgres://u:p@h/d', 'postgres://u:q@h/d'));
    for (const other of ['postgres://v:p@h/d', 'postgres://u:p@i/d', 'postgres://u:p@h/e', 'postgres://u:p@h:1/d'])
      assert.ok(!same('postgres://u:p@h/d', other));
  });
});

describe('the Secret of a database without a URL', () => {
  const read = (values: Record<string, string>) => readTarget((key) => values[key], 'uri', undefined);

  it('is read by the usual keys', () => {
    const common = { host: 'h', password: 'p' };
    assert.deepEqual(plain(read({ ...common, port: '1', user: 'u', dbname: 'd' })), ['h', 1, 'u', 'p', 'd', 'Disable']);
    assert.deepEqual(plain(read({ ...common, username: 'u', database: 'd' })), ['h', 5432, 'u', 'p', 'd', 'Disable']);
  });

  it('is refused where it is not enough', () => {
    assert.throws(() => read({ host: 'h', password: 'p' }), /no key uri with a URL; without it, it needs host, user/);
    assert.throws(() => read({ host: 'h', user: 'u', dbname: 'd', port: 'x' }), /port/);
  });
});

describe('the TLS of a connection', () => {
  const optionsOf = (mode: 'Disable' | 'Require' | 'VerifyCa' | 'VerifyFull') =>
    tlsOptions(parseTarget('postgres://u:p@db.example.org/d', { mode, ca: undefined }));
  // Only what the check looks at.
  const certificate = (name: string) => ({ subjectaltname: `DNS:${name}`, subject: { CN: name } }) as PeerCertificate;

  it('is none with Disable, and with Require encrypted without a look at the certificate', () => {
    assert.equal(optionsOf('Disable'), false);
    const options = optionsOf('Require');
    assert.ok(options !== false && options.rejectUnauthorized === false);
  });

  it('wants the name of the host with VerifyFull, and any name of the CA with VerifyCa', () => {
    const [full, ca] = [optionsOf('VerifyFull'), optionsOf('VerifyCa')];
    assert.ok(full !== false && ca !== false);
    for (const options of [full, ca]) assert.equal(options.rejectUnauthorized, true);
    assert.match(String(full.checkServerIdentity?.('', certificate('other.example.org'))), /ERR_TLS_CERT_ALTNAME/);
    assert.equal(full.checkServerIdentity?.('', certificate('db.example.org')), undefined);
    assert.equal(ca.checkServerIdentity?.('', certificate('other.example.org')), undefined);
  });
});
