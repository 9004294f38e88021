/**
 * Bounds how deeply calls in one process nest. A dispatch runs the manager at once, inside the client's begin; a completion
 * runs the client at once, inside the manager's reply; and an interruption runs finalizers at once, inside the cancel. A
 * manager that calls managers would so use up the stack. Beyond a fixed depth work is kept until the outermost frame is back.
 */
const limit = 32

let depth = 0
let draining = false
const later: Array<() => void> = []

/** Enters one level; `false` when there is no level left. */
export const enter = (): boolean => {
  if (depth === limit) return false
  depth++
  return true
}

/** Leaves a level that was entered. */
export const leave = (): void => {
  depth--
  if (depth > 0 || draining || later.length === 0) return
  draining = true
  try {
    for (let i = 0; i < later.length; i++) later[i]!()
  } finally {
    later.length = 0
    draining = false
  }
}

/** Keeps a task until the outermost level is left. Tasks run in the order in which they were kept, and don't throw. */
export const defer = (task: () => void): void => {
  later.push(task)
}

/** Runs a task now where there is a level left, else when the outermost level is left. */
export const run = (task: () => void): void => {
  if (!enter()) return defer(task)
  try {
    task()
  } finally {
    leave()
  }
}
