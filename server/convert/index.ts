import { Document, LineCounter, parseDocument } from 'yaml';
import { apiVersion, loadManifests } from '../../crds/index.ts';
import { cacheNames, labelNames, type Names } from './names.ts';
import { type Fields, isFields, numberOf, type Output, Reader, textOf } from './reader.ts';
import { convertStorages } from './storages.ts';

export interface Conversion {
  /** Manifests for Narwhal, with comments. */
  yaml: string;
  /** What has no counterpart, was changed on the way, or is refused by this version. */
  warnings: string[];
}

/** A text that is no configuration of the seed at all. */
export class ConvertError extends Error {
  readonly code = 'NotASeedConfig';

  constructor(reason: string) {
    super(reason);
    this.name = 'ConvertError';
  }
}

/** Turns the `config.yaml` of the cache-server that Narwhal grew from into manifests. */
export function convertSeedConfig(text: string): Conversion {
  const converter = new Converter();
  const yaml = converter.convert(readConfig(text));
  return { yaml, warnings: [...converter.warnings, ...refusals(yaml)] };
}

function readConfig(text: string): Fields {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    prettyErrors: false,
    stringKeys: true,
    lineCounter: lines,
    logLevel: 'silent',
  });
  const problem = document.errors[0];
  if (problem) {
    // The library's message may quote a key or a secret of the file.
    throw new ConvertError(`line ${lines.linePos(problem.pos[0]).line}: this is not valid YAML (${problem.code})`);
  }
  let config: unknown;
  try {
    config = document.toJS({ maxAliasCount: 100 });
  } catch {
    throw new ConvertError('this is not valid YAML: too many aliases (*name)');
  }
  if (config === null || config === undefined) throw new ConvertError('the file is empty: nothing to convert');
  if (!isFields(config))
    throw new ConvertError('this is no config.yaml: it has no fields such as "server" and "caches"');
  if (!['server', 'caches', 'workspaces', 'agents'].some((name) => Object.hasOwn(config, name))) {
    throw new ConvertError('this is no config.yaml: it has none of "server", "caches", "workspaces" and "agents"');
  }
  return config;
}

/** Each field of the seed that nothing here corresponds to, with what takes its place. */
const withoutCounterpart: Readonly<Record<string, string>> = {
  database: 'each cache keeps a database of its own in the data folder',
  standalone: 'a server works alone unless spec.peers says otherwise',
  'dht-port': 'there is no DHT; spec.peers takes its place',
  'dht-bootstrap-host': 'there is no DHT; spec.peers.bootstrap takes its place',
  'dht-bootstrap-port': 'there is no DHT; spec.peers.bootstrap takes its place',
  'deploy-port': 'deployments use the same port as everything else',
  key: 'there is no password for the whole server; spec.tokens of each cache takes its place',
};

const convertedServerFields = ['hostname', 'server-port', 'default-retention', 'default-port'];

class Converter {
  readonly #reader = new Reader();
  readonly #caches = cacheNames();
  readonly #workspaces = labelNames('workspace');
  readonly #agents = labelNames('agent');
  readonly #listen: string[] = [];
  readonly #ports = new Map<number, string>();

  get warnings(): readonly string[] {
    return this.#reader.warnings;
  }

  convert(config: Fields): string {
    this.#reader.unknown(config, ['server', 'caches', 'workspaces', 'agents'], 'config.yaml');
    const server = this.#server(config.server);
    const caches = this.#reader
      .list(config.caches, 'caches')
      .flatMap((cache, index) => this.#cache(cache, index, server));
    const workspaces = this.#reader
      .list(config.workspaces, 'workspaces')
      .flatMap((entry, index) => this.#workspace(entry, index));
    const agents = this.#reader.list(config.agents, 'agents').flatMap((entry, index) => this.#agent(entry, index));
    if (caches.length === 0) this.#reader.warn('caches', 'there is none, so nothing can be served');
    return print(this.#opening(), [...caches, ...workspaces, ...agents]);
  }

  #opening(): string[] {
    const lines = ['Made by narwhal-server convert. Read it, then start the server with it.'];
    if (this.#listen.length === 0) return lines;
    return [
      ...lines,
      'These options make it listen where the seed listened:',
      ...this.#listen.map((option) => `  ${option}`),
    ];
  }

  #server(value: unknown): { host: string; retention: unknown; port: unknown } {
    const server = this.#reader.fields(value ?? {}, 'server') ?? {};
    for (const [name, reason] of Object.entries(withoutCounterpart)) {
      if (Object.hasOwn(server, name)) this.#reader.warn(`server.${name}`, `left out: ${reason}`);
    }
    this.#reader.unknown(server, [...convertedServerFields, ...Object.keys(withoutCounterpart)], 'server');
    const hostname = textOf(server.hostname) ?? '0.0.0.0';
    const host = hostname.includes(':') && !hostname.startsWith('[') ? `[${hostname}]` : hostname;
    const port = this.#port(server['server-port'], 'server.server-port', 'the API');
    if (port !== undefined) this.#listen.push(`--listen ${oneLine(host)}:${port}`);
    return { host: oneLine(host), retention: server['default-retention'], port: server['default-port'] };
  }

  #cache(value: unknown, index: number, server: { host: string; retention: unknown; port: unknown }): Output[] {
    const where = `caches[${index}]`;
    const cache = this.#reader.fields(value, where);
    if (!cache) return [];
    this.#reader.unknown(cache, ['name', 'retention', 'port', 'storage-strategy', 'storages'], where);
    const name = this.#reader.name(cache.name, this.#caches, where, 'cache');
    const port = this.#port(cache.port ?? server.port, `${where}.port`, name);
    if (port !== undefined) this.#listen.push(`--listen ${name}=${server.host}:${port}`);
    const { spec: placement, secrets } = convertStorages(cache, where, name, this.#reader);
    const days = this.#retention(cache.retention ?? server.retention, where);
    const spec = {
      access: 'Public',
      ...placement,
      tokens: [{ name: 'push', permissions: ['Write'] }],
      ...(days !== undefined && { retention: { days } }),
    };
    const comment = [
      `The cache ${JSON.stringify(textOf(cache.name) ?? '')} of config.yaml.`,
      'config.yaml does not say who may pull; write "access: Private" to demand a token.',
      'The push token is generated at the first start.',
    ];
    return [{ content: { apiVersion, kind: 'BinaryCache', metadata: { name }, spec }, comment }, ...secrets];
  }

  #retention(value: unknown, where: string): number | undefined {
    if (value === undefined || value === null) return undefined;
    const days = numberOf(value);
    if (days !== undefined && days > 0 && days <= 36500) return Math.ceil(days);
    this.#reader.warn(`${where}.retention`, 'is no number of days from 1 to 36500: everything is kept');
    return undefined;
  }

  #workspace(value: unknown, index: number): Output[] {
    const where = `workspaces[${index}]`;
    const workspace = this.#reader.fields(value, where);
    if (!workspace) return [];
    this.#reader.unknown(workspace, ['name', 'cache'], where);
    const cache = this.#reference(workspace.cache, this.#caches, `${where}.cache`);
    if (!cache) return [];
    const name = this.#reader.name(workspace.name, this.#workspaces, where, 'workspace');
    const spec = { cacheRef: { name: cache } };
    return [{ content: { apiVersion, kind: 'Workspace', metadata: { name }, spec }, comment: [] }];
  }

  #agent(value: unknown, index: number): Output[] {
    const where = `agents[${index}]`;
    const agent = this.#reader.fields(value, where);
    if (!agent) return [];
    this.#reader.unknown(agent, ['name', 'workspace'], where);
    const workspace = this.#reference(agent.workspace, this.#workspaces, `${where}.workspace`);
    if (!workspace) return [];
    const name = this.#reader.name(agent.name, this.#agents, where, 'agent');
    const wanted = textOf(agent.name) ?? name;
    // The name that the machine itself uses may hold what a name in Kubernetes may not.
    const keepsName = wanted !== name && /^[A-Za-z0-9][-._A-Za-z0-9]{0,252}$/.test(wanted);
    const spec = { workspaceRef: { name: workspace }, ...(keepsName && { agentName: wanted }) };
    return [{ content: { apiVersion, kind: 'Agent', metadata: { name }, spec }, comment: [] }];
  }

  #reference(value: unknown, names: Names, where: string): string | undefined {
    const wanted = textOf(value);
    const found = wanted === undefined ? names.only : names.find(wanted);
    if (!found)
      this.#reader.warn(
        where,
        `${wanted === undefined ? 'is missing' : `names nothing in this file (${JSON.stringify(wanted)})`}: the entry is left out`,
      );
    return found;
  }

  #port(value: unknown, where: string, owner: string): number | undefined {
    if (value === undefined || value === null) return undefined;
    const port = numberOf(value);
    if (port === undefined || !Number.isInteger(port) || port < 1 || port > 65535) {
      this.#reader.warn(where, 'is no port from 1 to 65535: left out');
      return undefined;
    }
    const other = this.#ports.get(port);
    if (other !== undefined) {
      this.#reader.warn(where, `port ${port} is taken by ${other} already: choose another for ${owner}`);
      return undefined;
    }
    this.#ports.set(port, owner);
    return port;
  }
}

/** What the server of this version would say of the manifests. */
function refusals(yaml: string): string[] {
  const { errors } = loadManifests([{ file: 'converted', text: yaml }], { target: 'server' });
  return errors.map(({ line, path, message }) => `line ${line} of the manifests: ${path}: ${message}`);
}

function print(opening: string[], outputs: readonly Output[]): string {
  const texts = outputs.map(({ content, comment }) => {
    // kubectl reads YAML 1.1: compat puts quotes around words such as "on".
    const document = new Document(content, { aliasDuplicateObjects: false, compat: 'yaml-1.1' });
    return comment.map((line) => `# ${line}\n`).join('') + document.toString({ lineWidth: 0 });
  });
  return [opening.map((line) => `# ${line}\n`).join(''), ...texts].join('---\n');
}

/** For comments: nothing in a text of the seed may end the comment. */
function oneLine(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, '');
}
