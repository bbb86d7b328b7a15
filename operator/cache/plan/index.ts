export { isLost, plan, type Step, stepKey, subjectOf } from './plan.ts';
