// One node on the original's own core, of either protocol.
//
//     node peer.mjs <package of @logux/core> <node id>

import { setImmediate } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'

import { LongPollConnection } from '../../examples/web/long-poll-connection.js'
import { FaultyNetwork } from './faulty-network.mjs'
import { overMessagePack } from './message-pack.mjs'
import { changed, serve, tap, until } from './requests.mjs'

let [, , core, nodeId] = process.argv
let {
  ClientNode,
  isFirstOlder,
  Log,
  MemoryStore,
  Reconnect,
  ServerConnection,
  ServerNode,
  WsBinaryConnection,
  WsConnection
} = await import(core)

let log = new Log({ nodeId, store: new MemoryStore() })
let node
let connection
let connections = 0
// A network that loses requests, if that was asked for.
let network

// What was told so far and not asked for. Errors are those of the protocol, of either side; losses
// are those of connections.
let told = { debug: [], error: [], headers: [], loss: [] }

// How often the log said that it got an event, by id.
let additions = new Map()

// An event without a reason is not kept, and reasons do not travel from Rust.
log.on('preadd', (action, meta) => {
  if (meta.reasons.length === 0) meta.reasons.push('test')
})
log.on('add', (action, meta) => {
  additions.set(meta.id, (additions.get(meta.id) ?? 0) + 1)
  changed()
})

// Encrypted actions hold bytes, which the lines between the processes do not have.
function withBytes({ d, iv, ...action }) {
  return { ...action, d: Uint8Array.from(d), iv: Uint8Array.from(iv) }
}

function withLists({ d, iv, ...action }) {
  return { ...action, d: [...d], iv: [...iv] }
}

function start(Node, connection, { headers = {}, ...options }) {
  node = new Node(nodeId, log, connection, options)
  node.setLocalHeaders(headers)
  let tell = error => {
    if (error.name === 'LoguxError') {
      told.error.push({ options: error.options, type: error.type })
    } else {
      told.loss.push(error.message)
    }
    changed()
  }
  node.catch(tell)
  node.on('clientError', tell)
  node.on('headers', headers => {
    told.headers.push(headers)
    changed()
  })
  node.on('debug', (type, text) => {
    told.debug.push(text)
    changed()
  })
  node.on('state', changed)
}

await serve({
  // Adds events one by one, each in a turn of its own of the event loop.
  async add({ entries }) {
    for (let [action, meta] of entries) {
      await log.add(action.type === '0' ? withBytes(action) : action, meta)
      await setImmediate()
    }
  },

  // Connects, and again after each loss. `fixTime` would move times by a millisecond now and then.
  // With `faults`, a seed, requests of long-poll get lost and repeated.
  client({ binary, faults, longPoll, messagePack, url, ...options }) {
    if (longPoll) {
      if (faults) network = new FaultyNetwork(faults)
      connection = new LongPollConnection(url, network)
    } else {
      let Connection = binary ? WsBinaryConnection : WsConnection
      if (messagePack) Connection = overMessagePack(Connection)
      connection = new Connection(url, WebSocket)
    }
    tap(connection)
    let reconnect = new Reconnect(connection, { maxDelay: 10, minDelay: 1 })
    start(ClientNode, reconnect, { fixTime: false, ...options })
    connection.on('connecting', () => {
      connections += 1
    })
    reconnect.connect()
  },

  // Sets the clock.
  clock({ ahead }) {
    let now = Date.now
    Date.now = () => now() + ahead
  },

  debug({ text }) {
    node.sendDebug('error', text)
  },

  headers({ headers }) {
    node.setLocalHeaders(headers)
  },

  // Answers when the log has so many events.
  hold({ count }) {
    return until(() => additions.size >= count)
  },

  // Says something, and leaves before anybody has heard it.
  leave({ text }) {
    node.sendDebug('error', text)
    node.connection.disconnect('destroy')
  },

  // The whole log, in the order of creation; the ids in the order of adding; and what went wrong.
  async log() {
    let created = []
    let last
    await log.each({ order: 'created' }, (action, meta) => {
      if (last && !isFirstOlder(meta, last)) throw new Error(`${meta.id} is out of order`)
      last = meta
      let { added, id, indexes, keepLast, reasons, time, ...rest } = meta
      // In binary, 0 is none.
      if (rest.subprotocol === 0) delete rest.subprotocol
      created.unshift([id, time, action.type === '0' ? withLists(action) : action, rest])
    })
    let added = []
    await log.each({ order: 'added' }, (action, meta) => {
      added.unshift(meta.id)
    })
    let twice = [...additions].filter(([, times]) => times > 1).map(([id]) => id)
    return { added, created, errors: told.error, twice }
  },

  // The next `debug` or `headers` of the other side, `error` of either, or `loss`.
  async next({ kind }) {
    await until(() => told[kind].length > 0)
    return told[kind].shift()
  },

  // Says something as it stands, and answers all that comes back until the connection closes.
  raw({ message, url }) {
    return new Promise((resolve, reject) => {
      let answers = []
      let ws = new WebSocket(url)
      ws.on('open', () => ws.send(JSON.stringify(message)))
      ws.on('message', answer => answers.push(JSON.parse(answer)))
      ws.on('close', () => resolve(answers))
      ws.on('error', reject)
    })
  },

  // Listens on a free port, and answers which one it is.
  server({ messagePack, token: expected, ...options }) {
    let Connection = messagePack ? overMessagePack(ServerConnection) : ServerConnection
    if (expected) options.auth = async (_, token) => token === expected
    let server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    server.on('connection', ws => {
      connections += 1
      connection = new Connection(ws)
      tap(connection)
      start(ServerNode, connection, options)
    })
    return new Promise((resolve, reject) => {
      server.on('error', reject)
      server.on('listening', () => resolve(server.address().port))
    })
  },

  status() {
    return {
      connections,
      faults: network?.faults,
      losses: told.loss,
      reconnecting: node.connection.reconnecting,
      remoteSubprotocol: node.remoteSubprotocol,
      text: connection.textMode
    }
  },

  // Answers when the connection, or the last one that was accepted, is in that state.
  wait({ state }) {
    return until(() => node?.state === state)
  }
})
