// What the scripts of this folder have in common: each does what the Rust side asks it by lines of
// JSON.
//
// Each line of the input is a request, {"do": <name of a method>, ...}. Each line of the output is
// the answer to one, in order: {"ok": <value>} or {"failed": <text>}. The process ends with its
// input.

import { createInterface } from 'node:readline'

let waiting = []
let wire = []

// Answers once the condition holds; it is tried again whenever something has changed.
export function until(condition) {
  return new Promise(resolve => {
    waiting.push({ condition, resolve })
    changed()
  })
}

export function changed() {
  waiting = waiting.filter(({ condition, resolve }) => {
    if (!condition()) return true
    resolve()
    return false
  })
}

// Keeps what travels. As text, for the nodes change the messages that they get.
export function tap(connection) {
  let keep = (from, message) => {
    wire.push({ from, text: JSON.stringify(message), type: message[0] })
    changed()
  }
  let send = connection.send.bind(connection)
  connection.send = message => {
    keep('js', message)
    send(message)
  }
  connection.on('message', message => keep('rust', message))
}

function count(from, type) {
  return wire.filter(one => one.from === from && one.type === type).length
}

let common = {
  // Answers when each `sync` since the wire was last asked for has its `synced`.
  confirmed() {
    return until(
      () =>
        count('js', 'sync') === count('rust', 'synced') &&
        count('rust', 'sync') === count('js', 'synced')
    )
  },

  // Answers when a message of a type has come since the wire was last asked for.
  hear({ type }) {
    return until(() => count('rust', type) > 0)
  },

  // What has travelled since this was last asked.
  wire() {
    return wire.splice(0).map(({ from, text }) => ({ from, message: JSON.parse(text) }))
  }
}

// Does what is asked until there is no more to come.
export async function serve(own) {
  let methods = { ...common, ...own }
  process.stdin.on('end', () => process.exit())
  for await (let line of createInterface({ input: process.stdin })) {
    let { do: name, ...request } = JSON.parse(line)
    let answer
    try {
      answer = { ok: (await methods[name](request)) ?? null }
    } catch (error) {
      answer = { failed: error.stack }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
}
