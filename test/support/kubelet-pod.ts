/** One pod of the stand-in kubelet: the real program of its container, with the pod's environment and volumes. */
import path from 'node:path';
import { launchEnv, nodeFlags } from '../../hack/lib/launch.mjs';
import type { Container, Pod } from '../../operator/runtime/index.ts';
import { built } from './built.ts';
import type { PodVolumes } from './kubelet-volumes.ts';
import { ServerProcess } from './server-process.ts';

/** What a command of the image is on this machine. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'narwhal-server': built('dist/server/main.js'),
  'narwhal-operator': built('dist/operator/main.js'),
};

interface Env {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
}

export interface PodProcessInit {
  readonly pod: Pod;
  /** An address on this machine that no other pod has: without network namespaces, ports alone would clash. */
  readonly ip: string;
  readonly volumes: PodVolumes;
  readonly log: string;
}

/** A container that cannot be started, with the word that the kubelet has for it. */
export class StartError extends Error {
  readonly reason: 'ErrImagePull' | 'RunContainerError';

  constructor(reason: StartError['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Starts the container. Every image is there, whatever its tag, but for one called `missing`. @throws StartError */
export function startContainer(init: PodProcessInit): ServerProcess {
  const container = init.pod.spec.containers[0];
  if (!container) throw new Error('a pod without a container');
  const image = String(container.image);
  if (/^missing(:|$)/.test(image))
    throw new StartError('ErrImagePull', `failed to pull and unpack image "${image}": ${image}: not found`);
  const [command = '', ...args] = [...((container.command ?? []) as string[]), ...((container.args ?? []) as string[])];
  const program = PROGRAMS[command];
  if (program === undefined)
    throw new StartError('RunContainerError', `exec: "${command}": executable file not found in $PATH`);
  return new ServerProcess({
    words: [process.execPath, ...nodeFlags, program, ...args],
    env: { PATH: process.env.PATH, ...launchEnv, ...environment(init, container) },
    log: init.log,
    cwd: path.dirname(init.log),
  });
}

function environment({ pod, ip, volumes }: PodProcessInit, container: Container): Record<string, string> {
  const fields: Record<string, string | undefined> = {
    'metadata.name': pod.metadata.name,
    'metadata.namespace': pod.metadata.namespace,
    'status.podIP': ip,
  };
  return Object.fromEntries(
    ((container.env ?? []) as readonly Env[]).map(({ name, value, valueFrom }) => {
      const text = value ?? fields[valueFrom?.fieldRef?.fieldPath ?? ''] ?? '';
      // `:8080` is every address of the pod; this one has a single one.
      return [name, text.startsWith(':') ? `${ip}${text}` : volumes.translate(text)];
    }),
  );
}
