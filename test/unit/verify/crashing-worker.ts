import { parentPort } from 'node:worker_threads';
import type { Command } from '../../../server/cache/verify/messages.ts';

// Dies as a worker without memory does, in the middle of the job whose file is named "crash".
parentPort?.on('message', (command: Command) => {
  if (command.type === 'start' && command.request.file.endsWith('crash')) throw new Error('out of memory');
});

await import('../../../server/cache/verify/worker.ts');
