/** Images for the node: those that a cluster itself needs, made of one program each, and any archive of an image. */
import path from 'node:path';
import type { NodePrograms } from '../components/node.mjs';
import { writeImage } from '../image/archive.mjs';
import type { Machine } from './machine.ts';
import { CONTAINERD_SOCKET, PAUSE_IMAGE } from './node.ts';

/** The words that ask containerd for what the kubelet sees. */
export const CTR = ['ctr', '--address', CONTAINERD_SOCKET, '--namespace', 'k8s.io'];

export const COREDNS_IMAGE = 'narwhal.test/coredns:1';

/** Makes the images of pause and CoreDNS and gives them to containerd, which must run. */
export async function importOwnImages(machine: Machine, programs: NodePrograms): Promise<void> {
  const own = [
    { reference: PAUSE_IMAGE, program: programs.pause },
    { reference: COREDNS_IMAGE, program: programs.coredns },
  ];
  for (const { reference, program } of own) {
    const name = path.basename(program);
    const file = path.join(machine.folder, `${name}.tar`);
    const layers = [{ entries: [{ from: program, to: `/${name}` }] }];
    await writeImage({ file, reference, layers, config: { Entrypoint: [`/${name}`] } });
    await importImage(machine, file);
  }
}

/**
 * Gives an archive of an image, of OCI's or of Docker's form, to containerd.
 *
 * @param known what is in it, for an image that containerd may have already
 */
export async function importImage(
  machine: Machine,
  archive: string,
  known?: { readonly reference: string; readonly digest: string },
): Promise<void> {
  const images = [...CTR, 'images'];
  if (known) {
    const lines = (await machine.run([...images, 'list'])).split('\n');
    if (lines.some((line) => line.startsWith(`${known.reference} `) && line.includes(known.digest))) return;
  }
  await machine.run([...images, 'import', archive]);
}
