/** A certificate authority of a test's own, and a server certificate of it. Node cannot make any; openssl can. */
import { execFile as execFileOf } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { ensureProgram } from '../../hack/components/programs.mjs';

const execFile = promisify(execFileOf);
const DAYS = '2';

export interface Certificates {
  /** The authority's certificate, as PEM. */
  readonly ca: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

// A configuration of our own: an openssl that was not installed finds none, and a machine's own may say anything.
const CONFIG = `[req]
distinguished_name = name
prompt = no
[name]
CN = narwhal test
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:false
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
`;

/** Makes both for `localhost` and `127.0.0.1` in `folder`. Each call is an authority that no other trusts. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  await mkdir(folder, { recursive: true });
  const file = (name: string) => path.join(folder, name);
  await writeFile(file('openssl.cnf'), CONFIG);
  const [program = '', ...words] = await ensureProgram('openssl');
  const openssl = (...args: string[]) => execFile(program, [...words, ...args], { cwd: folder });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const request = ['req', '-config', 'openssl.cnf', ...key];
  await openssl(...request, '-x509', '-extensions', 'ca', '-days', DAYS, '-keyout', 'ca.key', '-out', 'ca.crt');
  await openssl(...request, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr');
  const signed = ['x509', '-req', '-in', 'server.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'];
  await openssl(...signed, '-days', DAYS, '-extfile', 'openssl.cnf', '-extensions', 'server', '-out', 'server.crt');
  return {
    ca: await readFile(file('ca.crt'), 'utf8'),
    caFile: file('ca.crt'),
    certFile: file('server.crt'),
    keyFile: file('server.key'),
  };
}
