export { deedOf, isLost, plan, type Step, subjectOf } from './plan.ts';
