/** A story: a suite of tests on a real cluster, each building on the one before, as a user's day goes. */
import { describeWith } from '../needs.ts';
import { keepLogs, saveEvidence } from './evidence.ts';
import { World } from './world.ts';

/** What a command of a user, a pod's start, or a rollout may take. A time limit, and no measurement. */
const STEP_MS = 300_000;

/**
 * Declares a story. After a step that fails the rest of it is skipped over as failed; objects, events and logs are
 * saved first, and the failed test says where.
 *
 * @param name first word of its namespace
 * @param tests gets the world, which is there once tests run
 */
export function story(name: string, title: string, tests: (world: () => World) => void): void {
  describeWith('cluster', title, function (this: Mocha.Suite) {
    this.timeout(STEP_MS);
    // What comes after a failed step would fail for that reason alone.
    this.bail(true);
    let world: World | undefined;
    const there = () => {
      if (!world) throw new Error('the story has not begun');
      return world;
    };
    before(async () => {
      world = await World.enter(name);
    });
    // Before the hooks below: what a test has stopped must run again, or there is nothing to save and to remove.
    tests(there);
    afterEach(async function () {
      const error = this.currentTest?.err;
      if (!error || !world) return;
      const folder = await saveEvidence(world, this.currentTest?.title ?? name);
      error.message += `\n(objects, events and logs: ${folder})`;
    });
    after(async () => {
      if (world) keepLogs(world);
      await world?.leave();
    });
  });
}
