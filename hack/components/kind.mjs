// kind, for a cluster where there is a Docker engine: the one on PATH, else built from its Go module.
import path from 'node:path';
import { attempt, run } from '../lib/run.mjs';
import { runGo } from './go.mjs';
import { keep, say } from './kept.mjs';

const VERSION = 'v0.31.0';

/** The program, built if need be. @returns {Promise<string>} */
export async function ensureKind() {
  if ((await attempt('kind', ['version'])).ok) return 'kind';
  const folder = await keep(`kind-${VERSION}`, 1, async (draft) => {
    say(`building kind ${VERSION} from its Go module (half a minute, once)`);
    await runGo('kind', {
      oldest: '1.21',
      args: ['install', '-trimpath', `sigs.k8s.io/kind@${VERSION}`],
      // Not in the clone: there, a go.mod of the project would decide on versions.
      cwd: draft,
      env: { GOBIN: draft },
    });
    await run('kind version', path.join(draft, 'kind'), ['version']);
  });
  return path.join(folder, 'kind');
}
