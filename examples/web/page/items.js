import { defineAction } from '@logux/actions'
import { isFirstOlder } from '@logux/core'

/** `{ item, text }`: a new item, under a name that nobody else gives. */
export const addItem = defineAction('items/add')
/** `{ item }`: that item is gone. */
export const removeItem = defineAction('items/remove')

/** Is the list made of such actions? `logux/undo` says that the server refused one. */
export function matters({ type }) {
  return type.startsWith('items/') || type === 'logux/undo'
}

/**
 * The list is what the log says: who has the same entries, `[action, meta]`, has the same list, in
 * whatever order they came. Sorted by ids, which are the same everywhere; `meta.time` follows each
 * node's own clock.
 */
export function itemsOf(entries) {
  const undone = new Set()
  const removed = new Set()
  for (const [action] of entries) {
    if (action.type === 'logux/undo') undone.add(action.id)
  }
  const valid = entries.filter(([, { id }]) => !undone.has(id))
  for (const [action] of valid) {
    if (removeItem.match(action)) removed.add(action.item)
  }
  return valid
    .filter(([action]) => addItem.match(action) && !removed.has(action.item))
    .sort(([, a], [, b]) => (isFirstOlder(a.id, b.id) ? -1 : 1))
    .map(([{ item, text }]) => ({ item, text }))
}
