/**
 * A machine within this machine: namespaces of processes, mounts and network, held by one process that does nothing.
 *
 * All that a cluster makes lives in them, so that the end of that process ends everything with it: containers, mounts,
 * interfaces, firewall rules. What remains is a folder and empty cgroups. Like `kind`, without Docker.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { withLock } from '../lib/lock.mjs';
import { cacheDir } from '../lib/places.mjs';
import { attempt, CommandError } from '../lib/run.mjs';
import { freeNetwork, LINK_PREFIX, type Network, POD_PREFIX } from './network.ts';
import { until } from './until.ts';

/** Where programs write without being asked: each gets an empty file system of its own. */
const PRIVATE = ['/run', '/var/lib', '/var/log'];
/** The kubelet sets them for the whole kernel. Here it sets a copy. */
const KERNEL_SETTINGS = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
];
/** The kernel takes networks apart one after the other, those of all clusters of a machine. */
const GONE_MS = 120_000;
const CGROUPS = '/sys/fs/cgroup';

interface Held {
  /** Process ids here, outside: unshare, and the first process within. */
  readonly holder: number;
  readonly first: number;
  /** What a later process of the same number does not have. */
  readonly started: string;
  readonly network: Network;
}

export interface RunInside {
  readonly input?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
}

export class Machine {
  readonly folder: string;
  readonly network: Network;
  readonly #held: Held;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(folder: string, held: Held, env: NodeJS.ProcessEnv) {
    this.folder = folder;
    this.network = held.network;
    this.#held = held;
    this.#env = env;
  }

  /** The machine that runs in `folder`, if one does. */
  static find(folder: string, env: NodeJS.ProcessEnv): Machine | undefined {
    const held = readHeld(folder);
    return held !== undefined && startOf(held.first) === held.started ? new Machine(folder, held, env) : undefined;
  }

  /** Makes one in a folder that is empty or absent. @param env with ip, unshare and nsenter on its PATH */
  static async start(folder: string, { pause, env }: { pause: string; env: NodeJS.ProcessEnv }): Promise<Machine> {
    const hidden = PRIVATE.find((place) => [folder, cacheDir()].some((used) => `${used}/`.startsWith(`${place}/`)));
    if (hidden !== undefined)
      throw new Error(
        `a cluster has ${hidden} for itself and cannot use what lies there: set NARWHAL_CACHE to another place`,
      );
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const namespaces = ['--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--mount-proc', '--kill-child'];
    // A session of its own: Ctrl-C at the terminal is not for it.
    const holder = spawn('unshare', [...namespaces, pause], { env, detached: true, stdio: 'ignore' });
    holder.on('error', () => {});
    holder.unref();
    const pid = holder.pid ?? -1;
    try {
      const first = await until('the namespaces', () => childOf(pid), { mostMs: 10_000 });
      // Two that begin at once would take the same network.
      const machine: Machine = await withLock('network of a cluster', async () => {
        const held = { holder: pid, first, started: startOf(first) ?? '', network: await freeNetwork(env) };
        fs.writeFileSync(heldFile(folder), JSON.stringify(held));
        const made = new Machine(folder, held, env);
        await made.#connect();
        return made;
      });
      await machine.#separate();
      return machine;
    } catch (error) {
      holder.kill('SIGKILL');
      throw error;
    }
  }

  /** The words that run a command inside. */
  words(command: readonly string[]): string[] {
    return [
      'nsenter',
      '--target',
      `${this.#held.first}`,
      '--mount',
      '--net',
      '--pid',
      '--ipc',
      '--uts',
      '--',
      ...command,
    ];
  }

  /** Runs a command inside; what it prints. */
  async run(command: readonly string[], { input, env = {} }: RunInside = {}): Promise<string> {
    const [program = '', ...args] = this.words(command);
    const result = await attempt(program, args, {
      env: { ...this.#env, ...env },
      ...(input === undefined ? {} : { input }),
    });
    if (!result.ok) throw new CommandError(command.join(' '), result);
    return result.stdout;
  }

  /** A folder of cgroups, for all that its pods take. */
  get cgroup(): string {
    return cgroupOf(this.folder);
  }

  /** Ends everything inside at once and removes what the namespaces do not take along: cgroups and the folder. */
  async stop(): Promise<void> {
    kill(this.#held.first);
    for (const pid of waitersOf(this.#held.first)) kill(pid);
    await until('the end of all processes of the cluster', () => startOf(this.#held.first) === undefined, {
      mostMs: 60_000,
    });
    kill(this.#held.holder);
    for (const hierarchy of hierarchies()) await removeCgroup(path.join(hierarchy, this.cgroup));
    await removeLink(this.#held, this.folder, this.#env);
    // The last process is gone, its mounts may be there a moment longer.
    await until(`the removal of ${this.folder}`, () => removed(this.folder), { mostMs: GONE_MS });
  }

  /** A link between this machine and the inner one; the way to pods and Services from here. */
  async #connect(): Promise<void> {
    const { device, host, uplink, node, all } = this.network;
    const ip = async (...words: string[]) => {
      const result = await attempt('ip', words, { env: this.#env });
      if (!result.ok) throw new CommandError(`ip ${words.join(' ')}`, result);
    };
    await ip('link', 'add', device, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', `${this.#held.first}`);
    await ip('address', 'add', `${host}/${LINK_PREFIX}`, 'dev', device);
    // Whose it is: another machine may have the same name later.
    await ip('link', 'set', device, 'up', 'alias', this.folder);
    await ip('route', 'add', all, 'via', uplink);
    const inside = [
      'ip link set lo up',
      `ip address add ${uplink}/${LINK_PREFIX} dev uplink`,
      'ip link set uplink up',
      `ip route add default via ${host}`,
      'ip link add pods type bridge',
      `ip address add ${node}/${POD_PREFIX} dev pods`,
      'ip link set pods up',
      'echo 1 > /proc/sys/net/ipv4/ip_forward',
      // At the end, connections to pods that are gone would keep the network for a minute and a half.
      'echo 1 > /proc/sys/net/ipv4/tcp_orphan_retries',
      // Two pods of one bridge reach each other below IP, where the addresses of Services would not be undone.
      'echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables',
      'hostname node1',
    ];
    await this.run(['sh', '-ec', inside.join('\n')]);
  }

  async #separate(): Promise<void> {
    const copies = path.join(this.folder, 'kernel');
    fs.mkdirSync(copies);
    for (const setting of KERNEL_SETTINGS) {
      const copy = path.join(copies, setting.replaceAll('/', '-'));
      fs.writeFileSync(copy, fs.readFileSync(path.join('/proc/sys', setting)));
      await this.run(['mount', '--bind', copy, path.join('/proc/sys', setting)]);
    }
    for (const place of PRIVATE) await this.run(['mount', '-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', place]);
    makeRoomForCgroups();
    for (const hierarchy of hierarchies()) fs.mkdirSync(path.join(hierarchy, this.cgroup), { recursive: true });
  }
}

/** Named by the folder: the network of a machine that ends is free, and another one's, before its cgroups are removed. */
function cgroupOf(folder: string): string {
  return `/narwhal-${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`;
}

/** Removes what is left of a machine that does not run. @param env with ip on its PATH */
export async function clearUp(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const held = readHeld(folder);
  if (held !== undefined) {
    for (const hierarchy of hierarchies()) await removeCgroup(path.join(hierarchy, cgroupOf(folder)));
    await removeLink(held, folder, env);
  }
  fs.rmSync(folder, { recursive: true, force: true });
}

/** The kernel would do it too, but keeps a network while connections wait for peers that are gone: for two minutes. */
async function removeLink({ network: { device } }: Held, folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const link = path.join('/sys/class/net', device);
  const isOurs = () => {
    try {
      return fs.readFileSync(path.join(link, 'ifalias'), 'utf8').trim() === folder;
    } catch {
      return false;
    }
  };
  if (!isOurs()) return;
  const result = await attempt('ip', ['link', 'delete', device], { env });
  // The kernel may have been at it.
  if (!result.ok && isOurs()) throw new CommandError(`ip link delete ${device}`, result);
}

function heldFile(folder: string): string {
  return path.join(folder, 'machine.json');
}

function readHeld(folder: string): Held | undefined {
  try {
    return JSON.parse(fs.readFileSync(heldFile(folder), 'utf8')) as Held;
  } catch {
    return undefined;
  }
}

/** When a process began, in ticks since the start of the kernel; undefined when it is gone or only waits to be buried. */
function startOf(pid: number): string | undefined {
  try {
    // The name of the program, in parentheses, may hold anything.
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * Programs outside that wait for one inside, by `nsenter`. One whose program was ever stopped has stopped as well and
 * does not come back: its program would never be buried, nor would the namespaces end.
 */
function waitersOf(first: number): number[] {
  const start = ['nsenter', '--target', `${first}`, ''].join('\0');
  return fs
    .readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(start);
      } catch {
        return false;
      }
    })
    .map(Number);
}

function childOf(pid: number): number | undefined {
  if (startOf(pid) === undefined) throw new Error('namespaces cannot be made here, which takes root');
  const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? undefined : Number(children.split(' ')[0]);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

/** The roots of all hierarchies of cgroups: one, or with the first version one for each controller. */
function hierarchies(): string[] {
  if (fs.existsSync(path.join(CGROUPS, 'cgroup.controllers'))) return [CGROUPS];
  return fs
    .readdirSync(CGROUPS, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => path.join(CGROUPS, name));
}

/**
 * In a container with version 2 of cgroups, the root that we see is a group with processes, and such a one may not have
 * groups with limits below it: its processes move into a group of their own. The kernel's own root has no `cgroup.type`.
 */
function makeRoomForCgroups(): void {
  const file = (name: string) => path.join(CGROUPS, name);
  if (!fs.existsSync(file('cgroup.controllers')) || !fs.existsSync(file('cgroup.type'))) return;
  const aside = file('aside');
  fs.mkdirSync(aside, { recursive: true });
  for (const pid of fs.readFileSync(file('cgroup.procs'), 'utf8').trim().split('\n')) {
    // Some end meanwhile, and those of the kernel stay.
    try {
      fs.writeFileSync(path.join(aside, 'cgroup.procs'), pid);
    } catch {}
  }
  const controllers = fs.readFileSync(file('cgroup.controllers'), 'utf8').trim().split(' ');
  fs.writeFileSync(file('cgroup.subtree_control'), controllers.map((name) => `+${name}`).join(' '));
}

/** Cgroups are removed from the innermost on, and only when the last process has left. */
async function removeCgroup(folder: string): Promise<void> {
  if (!fs.existsSync(folder)) return;
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(path.join(folder, entry.name));
  }
  await until(
    `the removal of ${folder}`,
    () => {
      try {
        fs.rmdirSync(folder);
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
        if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
        throw error;
      }
    },
    { mostMs: 10_000 },
  );
}

function removed(folder: string): boolean {
  try {
    fs.rmSync(folder, { recursive: true, force: true });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
