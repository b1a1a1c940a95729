import { defineAction } from '@logux/actions'
import { isFirstOlder } from '@logux/core'

/** `{ list, text }`: a new task, whose name is the action's id. */
export const addTask = defineAction('tasks/add')
/** `{ list, task }`: that task is done. */
export const finishTask = defineAction('tasks/done')

/** Are tasks made of such actions? `logux/undo` says that the server refused one. */
export function matters({ type }) {
  return type.startsWith('tasks/') || type === 'logux/undo'
}

/**
 * The tasks of a list that are to be done, oldest first: pages with the same entries,
 * `[action, meta]`, have the same tasks, in whatever order the entries came.
 */
export function tasksOf(list, entries) {
  const undone = new Set()
  for (const [action] of entries) {
    if (action.type === 'logux/undo') undone.add(action.id)
  }
  const valid = entries.filter(([action, { id }]) => action.list === list && !undone.has(id))
  const done = new Set(valid.flatMap(([action]) => (finishTask.match(action) ? action.task : [])))
  return valid
    .filter(([action, { id }]) => addTask.match(action) && !done.has(id))
    .sort(([, a], [, b]) => (isFirstOlder(a.id, b.id) ? -1 : 1))
    .map(([{ text }, { id, reasons }]) => {
      // The client keeps what the server has not answered yet for this reason.
      return { id, text, isWaiting: reasons?.includes('syncing') ?? false }
    })
}
