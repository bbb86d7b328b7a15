/** A certificate authority of a test's own, and certificates of it. Node cannot make any; openssl can. */
import { execFile as execFileOf } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { ensureProgram } from '../../hack/components/programs.mjs';

const execFile = promisify(execFileOf);
/** A cluster on a developer's machine lives as long as the machine stays up. */
const DAYS = '365';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface Certificates extends Certificate {
  /** The authority's certificate, as PEM. */
  readonly ca: string;
  readonly caFile: string;
}

// A configuration of our own: an openssl that was not installed finds none, and a machine's own may say anything.
const config = (altNames: readonly string[]) => `[req]
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
subjectAltName = ${['DNS:localhost', 'IP:127.0.0.1', ...altNames].join(', ')}
[client]
basicConstraints = critical, CA:false
extendedKeyUsage = clientAuth
`;

/** An authority that no other trusts. Its files lie in a folder, those of its certificates too. */
export class CertificateAuthority {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @param altNames what servers are called beside localhost and 127.0.0.1, as in `DNS:kubernetes` */
  static async make(folder: string, altNames: readonly string[] = []): Promise<CertificateAuthority> {
    const authority = new CertificateAuthority(folder);
    await mkdir(folder, { recursive: true });
    await writeFile(authority.#file('openssl.cnf'), config(altNames));
    const files = ['-keyout', 'ca.key', '-out', 'ca.crt'];
    await authority.#openssl(...authority.#request, '-x509', '-extensions', 'ca', '-days', DAYS, ...files);
    return authority;
  }

  /** One whose files lie in a folder already. */
  static open(folder: string): CertificateAuthority {
    return new CertificateAuthority(folder);
  }

  /** The authority's certificate, as a file. */
  get caFile(): string {
    return this.#file('ca.crt');
  }

  /** The authority's own key, for a server that signs by itself. */
  get caKeyFile(): string {
    return this.#file('ca.key');
  }

  /** A certificate to serve with, or to prove by who one is. @param subject as in `/O=group/CN=user` */
  async issue(use: 'server' | 'client', name: string, subject: string): Promise<Certificate> {
    const [key, csr, crt] = [`${name}.key`, `${name}.csr`, `${name}.crt`];
    await this.#openssl(...this.#request, '-subj', subject, '-keyout', key, '-out', csr);
    const signed = ['x509', '-req', '-in', csr, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', DAYS];
    await this.#openssl(...signed, '-extfile', 'openssl.cnf', '-extensions', use, '-out', crt);
    return { certFile: this.#file(crt), keyFile: this.#file(key) };
  }

  get #request(): string[] {
    return ['req', '-config', 'openssl.cnf', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  }

  #file(name: string): string {
    return path.join(this.#folder, name);
  }

  async #openssl(...args: string[]): Promise<void> {
    const [program = '', ...words] = await ensureProgram('openssl');
    await execFile(program, [...words, ...args], { cwd: this.#folder });
  }
}

/** An authority in `folder` and a certificate of it for `localhost` and `127.0.0.1`. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const authority = await CertificateAuthority.make(folder);
  const server = await authority.issue('server', 'server', '/CN=localhost');
  return { ca: await readFile(authority.caFile, 'utf8'), caFile: authority.caFile, ...server };
}
