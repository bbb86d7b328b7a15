import { parentPort } from 'node:worker_threads';
import type { Command } from '../../../../server/cache/verify/messages.ts';

// Dies as a worker without memory does, in the middle of the job whose file or suffix ends in "crash".
parentPort?.on('message', (command: Command) => {
  const crashes = command.type === 'start' && (command.request.file ?? command.request.suffix)?.endsWith('crash');
  if (crashes) throw new Error('out of memory');
});

await import('../../../../server/cache/verify/worker.ts');
