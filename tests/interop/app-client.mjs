// A client of an application, on `@logux/client`.
//
//     node app-client.mjs <url> <user id>
//
// Over WebSocket (`ws:`) or long-poll (`http:`).

import { Client } from '@logux/client'
import { Reconnect } from 'core-5'
import { WebSocket } from 'ws'

import { LongPollConnection } from '../../examples/web/long-poll-connection.js'
import { changed, serve, tap, until } from './requests.mjs'

let [, , url, userId] = process.argv
let delays = { maxDelay: 10, minDelay: 1 }

// It looks for a browser's. Only with an address, and not with a connection of ours, does it also
// insist on the header `env` where there is no TLS.
globalThis.WebSocket = WebSocket
let client = new Client({
  ...delays,
  ping: 50,
  server: url.startsWith('http') ? new Reconnect(new LongPollConnection(url), delays) : url,
  subprotocol: 1,
  timeout: 10_000,
  token: 'right',
  userId
})
tap(client.node.connection.connection)

let added = []
let errors = []
let outcomes = new Map()

client.on('add', (action, meta) => {
  added.push([action, meta.id])
  changed()
})
client.on('state', changed)
client.node.catch(error => {
  // Others are of sockets: a cut is one.
  if (error.name === 'LoguxError') errors.push(error.type)
})
client.start()

await serve({
  // All that it has added or been sent, and what the protocol complained of.
  added() {
    return { added, errors }
  },

  // Answers when it has so many actions of a type.
  hold({ count, type }) {
    return until(() => added.filter(([action]) => action.type === type).length >= count)
  },

  nodeId() {
    return client.nodeId
  },

  // Answers what became of an action that it sent: nothing, or why the server undid it.
  async outcome({ id }) {
    return outcomes.get(id)
  },

  // Sends an action, now or when it is connected again, and answers its id.
  sync({ action }) {
    let id = client.log.generateId()
    let outcome = client.sync(action, { id }).then(
      () => null,
      undone => undone.action.reason
    )
    outcomes.set(id, outcome)
    return id
  },

  // The ids of its actions for which it still waits.
  async syncing() {
    let ids = []
    await client.log.each((action, meta) => {
      if (meta.reasons.includes('syncing')) ids.push(meta.id)
    })
    return ids
  },

  wait({ state }) {
    return until(() => client.state === state)
  }
})
