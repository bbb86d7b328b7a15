/** Pods in which users' programs run: nix, curl, and the Cachix client of the tests. */
import { randomUUID } from 'node:crypto';
import { ensureImage } from '../../../hack/image.mjs';
import type { RunResult } from '../run.ts';
import type { World } from './world.ts';

export interface ClientInit {
  /** Secrets to mount, by name: `/secrets/<name>`. */
  readonly secrets?: readonly string[];
  /** ConfigMaps to mount, by name: `/config/<name>`. */
  readonly configMaps?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A pod of the image of clients that runs a script of `sh -e`: no root, nothing to write but `/tmp` and `/nix`. */
export async function clientPodSpec(
  script: string,
  { secrets = [], configMaps = [], env = {} }: ClientInit = {},
): Promise<object> {
  const mounts = [
    { name: 'tmp', mountPath: '/tmp' },
    { name: 'nix', mountPath: '/nix' },
    ...secrets.map((name) => ({ name: `secret-${name}`, mountPath: `/secrets/${name}`, readOnly: true })),
    ...configMaps.map((name) => ({ name: `config-${name}`, mountPath: `/config/${name}`, readOnly: true })),
  ];
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 1,
    automountServiceAccountToken: false,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 65532,
      fsGroup: 65532,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'client',
        image: (await ensureImage('client')).reference,
        imagePullPolicy: 'Never',
        // nix takes no home that is another user's, as the mounted folder is.
        command: ['sh', '-ec', `mkdir -p "$HOME"\n${script}`],
        env: Object.entries({ HOME: '/tmp/home', ...env }).map(([name, value]) => ({ name, value })),
        volumeMounts: mounts,
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
      },
    ],
    volumes: [
      { name: 'tmp', emptyDir: {} },
      { name: 'nix', emptyDir: {} },
      ...secrets.map((name) => ({ name: `secret-${name}`, secret: { secretName: name } })),
      ...configMaps.map((name) => ({ name: `config-${name}`, configMap: { name } })),
    ],
  };
}

/** A pod that waits for commands. */
export class Client {
  readonly #world: World;
  readonly name: string;

  private constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  static async start(world: World, name: string, init?: ClientInit): Promise<Client> {
    const spec = await clientPodSpec('exec sleep infinity', init);
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
    await world.wait(`pod/${name}`, 'condition=Ready');
    return new Client(world, name);
  }

  /** What a script prints, of `sh -e`; throws what it complains of. */
  async run(script: string, input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.tryRun(script, input);
    if (code !== 0) throw new Error(`in pod ${this.name}: ${script}\nended with ${code}:\n${stderr}${stdout}`);
    return stdout;
  }

  /**
   * How a script ends, whatever the end. On a busy node `kubectl exec` may lose the last of what is said without a word:
   * so the script writes into files, which are read until their end has come.
   */
  async tryRun(script: string, input?: string): Promise<RunResult> {
    const id = randomUUID();
    const exec = (words: readonly string[], init: { input?: string } = {}) =>
      this.#world.tryKubectl(['exec', ...(init.input === undefined ? [] : ['-i']), this.name, '--', ...words], init);
    const run = await exec(['sh', '-c', RUN, id, script], input === undefined ? {} : { input });
    if (run.code !== 0) return run;
    return this.#world.until(`what a script in ${this.name} said`, async () => {
      const { stdout } = await exec(['sh', '-c', READ, id]);
      const [said, errors, code] = stdout.split(`\n${id}\n`);
      return /^\d+\n$/.test(code ?? '') && { code: Number(code), stdout: said ?? '', stderr: errors ?? '' };
    });
  }
}

/** Their first argument names the files. */
const RUN = `sh -ec "$1" > "/tmp/$0.out" 2> "/tmp/$0.err"; echo $? > "/tmp/$0.code"`;
const READ = `cd /tmp && cat "$0.out" && echo && echo "$0" && cat "$0.err" && echo && echo "$0" && cat "$0.code"`;

/** Runs a script in a Job to its end; what it prints. Throws its log when it fails. */
export async function runJob(world: World, name: string, script: string, init?: ClientInit): Promise<string> {
  const spec = await clientPodSpec(script, init);
  await world.apply({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: { backoffLimit: 0, template: { spec } },
  });
  const ended = await world.until(`the end of job ${name}`, async () => {
    const { status } = await world.get(`job/${name}`);
    return status.succeeded ? 'well' : status.failed ? 'badly' : undefined;
  });
  const log = await world.kubectl(['logs', `job/${name}`]);
  if (ended === 'badly') throw new Error(`job ${name} failed:\n${log}`);
  return log;
}
