/** Private cache: pods that mount its token pull, others get nothing. */
import assert from 'node:assert/strict';
import { runJob } from '../support/e2e/client.ts';
import { CA, ensureRelease } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';

story('private', 'a private cache', (world) => {
  before(async () => {
    await ensureRelease(world());
    await world().kubectl(['apply', '-f', 'examples/private.yaml']);
    await world().wait('binarycache/team', 'condition=Ready');
  });

  it('takes a path from a Job that mounts the token to push', async () => {
    const script = `
      echo hello > /tmp/hello
      path=$(nix store add-file /tmp/hello)
      nix copy --netrc-file /secrets/team-token-ci/netrc --to http://team.$NAMESPACE.svc/push "$path"
      echo "$path"`;
    const log = await runJob(world(), 'push', script, {
      secrets: ['team-token-ci'],
      configMaps: [CA],
      env: { NAMESPACE: world().namespace },
    });
    assert.match(log, /\/nix\/store\/\w{32}-hello\n$/);
  });
});
