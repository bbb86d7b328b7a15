/** A real nginx in front of a server, with the lines that docs/operations.md tells people to write. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ensureProgram } from '../../hack/components/programs.mjs';
import { ensureComponent } from '../../hack/components.mjs';
import { root } from '../../hack/lib/places.mjs';
import { onFreePort, ServerProcess } from './server-process.ts';

/** What the page says of files that nginx sends, for one place. */
const SECTION = '### Files sent by nginx';
const PLACE = /^ {2}# Cache main, storage disk[\s\S]*?^ {2}\}\n/m;

export interface NginxInit {
  /** `host:port` of the server. */
  readonly server: string;
  /** The folder `objects/` of each storage, by `<cache>/<storage>`. */
  readonly places: Readonly<Record<string, string>>;
  /** Address from which it connects. */
  readonly from: string;
}

export class Nginx {
  readonly url: string;
  readonly #folder: string;
  readonly #process: ServerProcess;

  private constructor(url: string, folder: string, process: ServerProcess) {
    this.url = url;
    this.#folder = folder;
    this.#process = process;
  }

  static async start(init: NginxInit): Promise<Nginx> {
    await ensureComponent('nginx');
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-nginx-'));
    const server = (await documented()).replace(
      'http://127.0.0.1:8080;',
      `http://${init.server};\n    proxy_bind ${init.from};`,
    );
    const place = PLACE.exec(server)?.[0] ?? '';
    const places = Object.entries(init.places).map(([name, objects]) =>
      place.replace('/main/disk/', `/${name}/`).replace('/srv/narwhal/disk/objects/', `${objects}/`),
    );
    return onFreePort(async (port) => {
      const text = server.replace(PLACE, places.join('')).replace('server {', `server {\n  listen 127.0.0.1:${port};`);
      const config = path.join(folder, 'nginx.conf');
      await writeFile(config, around(text, folder));
      const words = [...(await ensureProgram('nginx')), '-e', `${folder}/errors`, '-c', config, '-p', folder];
      const process = new ServerProcess({ words, env: {}, log: path.join(folder, 'log'), lastSignal: 'SIGTERM' });
      const url = `http://127.0.0.1:${port}`;
      await process.untilReady(async () => {
        await (await fetch(url)).text();
      });
      return new Nginx(url, folder, process);
    });
  }

  async remove(): Promise<void> {
    // Its workers end with it.
    await this.#process.stop('SIGTERM');
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function documented(): Promise<string> {
  const page = await readFile(path.join(root, 'docs/operations.md'), 'utf8');
  return /```nginx\n([\s\S]*?)```/.exec(page.slice(page.indexOf(SECTION)))?.[1] ?? '';
}

function around(server: string, folder: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return [
    // Its workers would drop to another user. Others than root cannot change users.
    ...(process.getuid?.() === 0 ? ['user root;'] : []),
    'worker_processes 1;',
    'daemon off;',
    `pid ${folder}/nginx.pid;`,
    'events { worker_connections 1024; }',
    'http {',
    ...kinds.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`),
    '  access_log off;',
    '  sendfile on;',
    server,
    '}\n',
  ].join('\n');
}
