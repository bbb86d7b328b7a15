// mocha's spec output for people, and counts in the file NARWHAL_MOCHA_REPORT for hack/test.mjs.
import fs from 'node:fs';
import path from 'node:path';
import mocha from 'mocha';

export default class CountingReporter extends mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    /** `took`: milliseconds of each file, hooks included. */
    const report = { passed: 0, failed: 0, skipped: [], failures: [], took: {} };
    let start = 0;
    runner.on('suite', (suite) => {
      if (suite.parent?.root) start = performance.now();
    });
    runner.on('suite end', (suite) => {
      if (!suite.parent?.root || !suite.file) return;
      const file = path.relative(process.cwd(), suite.file);
      report.took[file] = (report.took[file] ?? 0) + performance.now() - start;
    });
    runner.on('pass', () => {
      report.passed += 1;
    });
    // Failing hooks arrive here too.
    runner.on('fail', (test, error) => {
      report.failed += 1;
      report.failures.push(`${test.fullTitle()}\n${error?.stack ?? error}`);
    });
    runner.on('pending', (test) => report.skipped.push(test.fullTitle()));
    runner.once('end', () => {
      const file = process.env.NARWHAL_MOCHA_REPORT;
      if (file) fs.writeFileSync(file, JSON.stringify(report));
    });
  }
}
