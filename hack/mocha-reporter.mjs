// mocha's spec output for people, and counts in the file NARWHAL_MOCHA_REPORT for hack/test.mjs.
import fs from 'node:fs';
import mocha from 'mocha';

export default class CountingReporter extends mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const report = { passed: 0, failed: 0, skipped: [] };
    runner.on('pass', () => {
      report.passed += 1;
    });
    // Failing hooks arrive here too.
    runner.on('fail', () => {
      report.failed += 1;
    });
    runner.on('pending', (test) => report.skipped.push(test.fullTitle()));
    runner.once('end', () => {
      const file = process.env.NARWHAL_MOCHA_REPORT;
      if (file) fs.writeFileSync(file, JSON.stringify(report));
    });
  }
}
